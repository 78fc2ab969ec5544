import { createPublicKey, type KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import type { Algorithm } from 'jsonwebtoken';

const OF_RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const;
const OF_CURVES = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' } as const;

/** The algorithms that public keys check. */
export const ASYMMETRIC = [...OF_RSA, ...Object.values(OF_CURVES)] as const;

/** A key, and the algorithms that it may check. The kind of key decides, not the token (RFC 8725 §3.1). */
export interface Verifier {
  readonly key: KeyObject;
  readonly algorithms: Algorithm[];
}

/** A public key in PEM, with the algorithms that it can check. Throws an Error if the key cannot be used. */
export function publicKeyVerifier(pem: string): Verifier {
  // Node would use its public half. But a machine that only checks must not have a private key.
  if (pem.includes('PRIVATE KEY')) throw new Error('this is a private key; give the public one');
  return verifierOf(createPublicKey(pem));
}

/** A public key in JWK (RFC 7517), with the algorithms that it may check. Throws an Error if it cannot be used. */
export function jwkVerifier(jwk: JWK): Verifier {
  const { kty, use, alg, key_ops: operations } = jwk;
  if (kty !== 'RSA' && kty !== 'EC') throw new Error('its kty must be RSA or EC');
  if ('d' in jwk) throw new Error('this is a private key; everybody who reads it can sign');
  if (use !== undefined && use !== 'sig') throw new Error('its use is not sig');
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    throw new Error('its key_ops have no verify');
  const { key, algorithms } = verifierOf(createPublicKey({ key: jwk, format: 'jwk' }));
  const allowed = algorithms.filter(algorithm => alg === undefined || alg === algorithm);
  if (allowed.length === 0) throw new Error(`its alg must be one of ${algorithms.join(', ')}`);
  return { key, algorithms: allowed };
}

function verifierOf(key: KeyObject): Verifier {
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'rsa') {
    if (modulusLength < 2048) throw new Error('an RSA key needs 2048 bits or more');
    return { key, algorithms: [...OF_RSA] };
  }
  for (const [curve, algorithm] of Object.entries(OF_CURVES))
    if (curve === namedCurve) return { key, algorithms: [algorithm] };
  throw new Error('the key must be RSA (RS, PS) or EC on P-256, P-384 or P-521 (ES)');
}
