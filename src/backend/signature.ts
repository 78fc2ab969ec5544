import { createHmac } from 'node:crypto';

const PREFIX = 'whsec_';

/** The key in a secret: `whsec_` and base64. Throws an Error that says what is wrong. */
export function signingKeyOf(secret: string): Buffer {
  const base64 = secret.slice(PREFIX.length);
  const key = Buffer.from(base64, 'base64');
  if (!secret.startsWith(PREFIX) || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64))
    throw new Error('must be whsec_ and base64');
  if (key.length < MIN_BYTES || key.length > MAX_BYTES)
    throw new Error(`must have ${MIN_BYTES} to ${MAX_BYTES} bytes behind whsec_, this one has ${key.length}`);
  return key;
}

/**
 * The headers of a request (Standard Webhooks, "Webhook metadata" and "Signature scheme").
 * @param id names the request; a repeated request has the same
 * @param seconds now, since the epoch
 */
export function signedHeaders(
  key: Buffer,
  id: string,
  seconds: number,
  body: string,
): Record<string, string> {
  const signature = createHmac('sha256', key).update(`${id}.${seconds}.${body}`).digest('base64');
  return {
    'webhook-id': id,
    'webhook-timestamp': String(seconds),
    'webhook-signature': `v1,${signature}`,
  };
}

// As the specification has it.
const MIN_BYTES = 24;
const MAX_BYTES = 64;
