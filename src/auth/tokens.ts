import { createSecretKey } from 'node:crypto';
import { decodeProtectedHeader } from 'jose';
import jwt from 'jsonwebtoken';
import { z } from 'zod';
import { ClaimsError, identityOf, TokenClaims } from './claims.js';
import type { Identity } from './identity.js';
import type { RemoteKeys } from './jwks.js';
import { ASYMMETRIC, publicKeyVerifier, type Verifier } from './verifier.js';

/** The clocks of the signer and of this machine may differ by so many seconds. */
export const CLOCK_TOLERANCE_SECONDS = 30;

/** `unavailable`: no key could be loaded yet that might check the token; later it may be taken. */
export type TokenFault = 'expired' | 'invalid' | 'unavailable';

/** A token is not valid. The message tells a programmer why, and never repeats the token. */
export class TokenError extends Error {
  readonly fault: TokenFault;

  constructor(fault: TokenFault, message: string) {
    super(message);
    this.name = 'TokenError';
    this.fault = fault;
  }
}

/** The library's messages in words for a programmer. */
const REASONS: Readonly<Record<string, string>> = {
  'jwt must be provided': 'it is empty',
  'jwt malformed': 'it is no JWT, which has three parts with dots between; is it an error page?',
  'invalid signature':
    'its signature does not match; sign it with the key that this server checks with (JWT_SECRET, or the private key to JWT_PUBLIC_KEY or to the key at JWT_JWKS_URL)',
};

/** The header of a token that a public key can check. */
const AsymmetricHeader = z.object({ alg: z.enum(ASYMMETRIC), kid: z.string().optional() });

type AsymmetricHeader = z.output<typeof AsymmetricHeader>;

/** Checks JWTs (RFC 7519). Parses keys only once: with a `KeyObject`, checks are fifty times faster. */
export class Tokens {
  readonly #verifiers: readonly Verifier[];
  readonly #maxSeconds: number;
  readonly #now: () => number;
  readonly #remote: RemoteKeys | undefined;

  /**
   * @param secrets for HS256/384/512; each of them is valid
   * @param publicKey PEM for RS, PS or ES
   * @param now milliseconds since the epoch
   * @param maxSeconds how long a token may be valid; by default as long as it says
   * @param remote more public keys for RS, PS and ES; they must have started
   */
  constructor(
    secrets: readonly string[],
    publicKey: string | undefined,
    now: () => number,
    maxSeconds = Number.POSITIVE_INFINITY,
    remote?: RemoteKeys,
  ) {
    this.#remote = remote;
    this.#maxSeconds = maxSeconds;
    this.#now = now;
    const symmetric = secrets.map(secret => ({
      key: createSecretKey(Buffer.from(secret)),
      algorithms: ['HS256', 'HS384', 'HS512'] satisfies jwt.Algorithm[],
    }));
    this.#verifiers = publicKey === undefined ? symmetric : [...symmetric, publicKeyVerifier(publicKey)];
  }

  /**
   * What to wait for before `verify`: a look-up of the key that the token names, if that is not known. It never
   * rejects, and ends after 3 seconds. Undefined if there is nothing to wait for.
   */
  prepare(token: string): Promise<void> | undefined {
    if (this.#remote === undefined) return undefined;
    const header = asymmetricHeader(token);
    if (header === undefined || this.#remote.has(header.kid)) return undefined;
    return this.#isOfLocalKey(token) ? undefined : this.#remote.lookUp();
  }

  /** The user that a token names, and the rooms that it allows. Throws a TokenError. */
  verify(token: string): Identity {
    const checked = this.#verifyLocally(token);
    return checked instanceof TokenError ? this.#verifyRemotely(token, checked) : checked;
  }

  /** Returns an error if another key may accept the token, and throws one if not. */
  #verifyLocally(token: string): Identity | TokenError {
    let refusal: TokenError | undefined;
    for (const verifier of this.#verifiers) {
      try {
        return this.#check(token, verifier);
      } catch (error) {
        if (!isOfAnotherKey(error)) throw tokenError(error);
        refusal ??= tokenError(error);
      }
    }
    if (refusal !== undefined) return refusal;
    return this.#remote === undefined
      ? new TokenError('invalid', 'no key is set that could check this token')
      : invalid('it must be a JWT that is signed with RS, PS or ES by a key at JWT_JWKS_URL');
  }

  #isOfLocalKey(token: string): boolean {
    try {
      return !(this.#verifyLocally(token) instanceof TokenError);
    } catch {
      return true;
    }
  }

  /**
   * One key must fit, as with jose: the one of the token's `kid`, or without a `kid` the only one for its algorithm.
   * To try several would let each forged token cost as many checks.
   */
  #verifyRemotely(token: string, refusal: TokenError): Identity {
    const header = this.#remote && asymmetricHeader(token);
    if (this.#remote === undefined || header === undefined) throw refusal;
    if (!this.#remote.wereReached)
      throw new TokenError('unavailable', 'the keys at JWT_JWKS_URL cannot be loaded yet; try again later');
    const [verifier, ...others] = this.#remote.matching(header);
    if (verifier === undefined)
      throw invalid(
        header.kid === undefined || this.#remote.has(header.kid)
          ? 'no key at JWT_JWKS_URL is for its alg and its kid (if it has one)'
          : 'its kid is not among the keys at JWT_JWKS_URL',
      );
    if (others.length > 0)
      throw invalid('several keys at JWT_JWKS_URL fit; give it the kid of one, and each key its own kid');
    try {
      return this.#check(token, verifier);
    } catch (error) {
      throw tokenError(error);
    }
  }

  #check(token: string, { key, algorithms }: Verifier): Identity {
    const clockTimestamp = Math.floor(this.#now() / 1000);
    const clockTolerance = CLOCK_TOLERANCE_SECONDS;
    const options = { algorithms, clockTimestamp, clockTolerance, complete: true } as const;
    const { header, payload } = jwt.verify(token, key, options);
    // RFC 7515 §4.1.11: "crit" lists extensions that must be understood. This server understands none.
    if ('crit' in header)
      throw new TokenError('invalid', 'its header has "crit", which names nothing known here');
    return this.#checkLifetime(identityOf(TokenClaims, payload));
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

/** Undefined if no public key can check the token. */
function asymmetricHeader(token: string): AsymmetricHeader | undefined {
  try {
    return AsymmetricHeader.safeParse(decodeProtectedHeader(token)).data;
  } catch {
    return undefined;
  }
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
  return invalid(error instanceof jwt.JsonWebTokenError ? error.message : 'it cannot be read');
}

function invalid(reason: string): TokenError {
  return new TokenError('invalid', `the token is not valid: ${REASONS[reason] ?? reason}`);
}
