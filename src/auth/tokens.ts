import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { ClaimsError, identityOf, TokenClaims } from './claims.js';
import type { Identity } from './identity.js';

/** The clocks of the signer and of this machine may differ by so many seconds. */
export const CLOCK_TOLERANCE_SECONDS = 30;

export type TokenFault = 'expired' | 'invalid';

/** A token is not valid. The message tells a programmer why, and never repeats the token. */
export class TokenError extends Error {
  readonly fault: TokenFault;

  constructor(fault: TokenFault, message: string) {
    super(message);
    this.name = 'TokenError';
    this.fault = fault;
  }
}

/** A key, and the algorithms that it may check. The kind of key decides, not the token (RFC 8725 §3.1). */
interface Verifier {
  readonly key: KeyObject;
  readonly algorithms: jwt.Algorithm[];
}

/** The library's messages in words for a programmer. */
const REASONS: Readonly<Record<string, string>> = {
  'jwt must be provided': 'it is empty',
  'jwt malformed': 'it is no JWT, which has three parts with dots between; is it an error page?',
  'invalid signature':
    'its signature does not match; sign it with the key that this server checks with (JWT_SECRET, or the private key to JWT_PUBLIC_KEY)',
};

/** Checks JWTs (RFC 7519). Parses keys only once: with a `KeyObject`, checks are fifty times faster. */
export class Tokens {
  readonly #verifiers: readonly Verifier[];
  readonly #maxSeconds: number;
  readonly #now: () => number;

  /**
   * @param secrets for HS256/384/512; each of them is valid
   * @param publicKey PEM for RS, PS or ES
   * @param now milliseconds since the epoch
   * @param maxSeconds how long a token may be valid; by default as long as it says
   */
  constructor(
    secrets: readonly string[],
    publicKey: string | undefined,
    now: () => number,
    maxSeconds = Number.POSITIVE_INFINITY,
  ) {
    this.#maxSeconds = maxSeconds;
    this.#now = now;
    const symmetric = secrets.map(secret => ({
      key: createSecretKey(Buffer.from(secret)),
      algorithms: ['HS256', 'HS384', 'HS512'] satisfies jwt.Algorithm[],
    }));
    this.#verifiers = publicKey === undefined ? symmetric : [...symmetric, publicKeyVerifier(publicKey)];
  }

  /** The user that a token names, and the rooms that it allows. Throws a TokenError. */
  verify(token: string): Identity {
    let refusal: TokenError | undefined;
    for (const { key, algorithms } of this.#verifiers) {
      try {
        const clockTimestamp = Math.floor(this.#now() / 1000);
        const clockTolerance = CLOCK_TOLERANCE_SECONDS;
        const options = { algorithms, clockTimestamp, clockTolerance, complete: true } as const;
        const { header, payload } = jwt.verify(token, key, options);
        // RFC 7515 §4.1.11: "crit" lists extensions that must be understood. This server understands none.
        if ('crit' in header)
          throw new TokenError('invalid', 'its header has "crit", which names nothing known here');
        return this.#checkLifetime(identityOf(TokenClaims, payload));
      } catch (error) {
        if (!isOfAnotherKey(error)) throw tokenError(error);
        refusal ??= tokenError(error);
      }
    }
    throw refusal ?? new TokenError('invalid', 'no key is set that could check this token');
  }

  /** Revocations are kept as long as a token can be valid. A token from the future could not be revoked. */
  #checkLifetime(identity: Identity): Identity {
    const now = this.#now() / 1000;
    const { issuedAt = now, expires = 0 } = identity;
    if (issuedAt > now + CLOCK_TOLERANCE_SECONDS)
      throw new TokenError('invalid', 'the claim iat is in the future; are the clocks right?');
    if (expires - issuedAt <= this.#maxSeconds) return identity;
    throw new TokenError(
      'invalid',
      `the token is valid for more than ${this.#maxSeconds} seconds (MAX_TOKEN_SECONDS); give it an earlier exp`,
    );
  }
}

/** A public key in PEM, with the algorithms that it can check. Throws an Error if the key cannot be used. */
export function publicKeyVerifier(pem: string): Verifier {
  // Node would use its public half. But a machine that only checks must not have a private key.
  if (pem.includes('PRIVATE KEY')) throw new Error('this is a private key; give the public one');
  const key = createPublicKey(pem);
  if (key.asymmetricKeyType === 'rsa') {
    if ((key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048)
      throw new Error('an RSA key needs 2048 bits or more');
    return { key, algorithms: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] };
  }
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve === 'prime256v1') return { key, algorithms: ['ES256'] };
  if (curve === 'secp384r1') return { key, algorithms: ['ES384'] };
  if (curve === 'secp521r1') return { key, algorithms: ['ES512'] };
  throw new Error('the key must be RSA (RS, PS) or EC on P-256, P-384 or P-521 (ES)');
}

/** Whether another key may accept the token: this key did not sign it. */
function isOfAnotherKey(error: unknown): boolean {
  return error instanceof jwt.JsonWebTokenError && /^invalid (signature|algorithm)$/.test(error.message);
}

function tokenError(error: unknown): TokenError {
  if (error instanceof TokenError) return error;
  if (error instanceof ClaimsError) return new TokenError('invalid', error.message);
  if (error instanceof jwt.TokenExpiredError) return new TokenError('expired', 'the token has expired');
  // jsonwebtoken also throws errors of JSON.parse and of node:crypto. The token causes all of them.
  const message = error instanceof jwt.JsonWebTokenError ? error.message : 'it cannot be read';
  return new TokenError('invalid', `the token is not valid: ${REASONS[message] ?? message}`);
}
