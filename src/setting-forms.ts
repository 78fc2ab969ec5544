import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { publicKeyVerifier } from './auth/verifier.js';
import { signingKeyOf } from './backend/signature.js';
import { reasonOf } from './model/reason.js';
import { parseRedisUrl } from './redis/url.js';

// The forms that settings have. Each checks one value, and says what is wrong with it.

/** The fewest bytes that a secret may have. */
export const MIN_SECRET_LENGTH = 32;
/** Ends the fault of a secret that is missing or too short. */
export const HOW_TO_MAKE_ONE = 'make one with: openssl rand -hex 32';

/** A whole number from `min` to `max`. */
export function whole(defaultValue: number, min: number, max: number) {
  const rule = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, rule)
    .transform(Number)
    .refine(value => value >= min && value <= max, rule)
    .default(defaultValue);
}

/** A list with commas between its items. */
export function list(defaultValue: readonly string[]) {
  return z
    .string()
    .transform(text =>
      text
        .split(',')
        .map(item => item.trim())
        .filter(item => item !== ''),
    )
    .default([...defaultValue]);
}

/** `true` or `false`; false if it is not set. */
export const flag = z
  .enum(['true', 'false', '1', '0'], 'must be true or false')
  .transform(text => text === 'true' || text === '1')
  .default(false);

/** The secret of JWTs. */
export const secret = z
  .string()
  .refine(
    text => Buffer.byteLength(text) >= MIN_SECRET_LENGTH,
    `must have ${MIN_SECRET_LENGTH} bytes or more; ${HOW_TO_MAKE_ONE}`,
  )
  .optional();

/** A public key in PEM, or a path to one; it becomes the PEM. */
export const publicKey = z
  .string()
  .transform((text, context) => {
    try {
      const pem = text.includes('-----BEGIN') ? text.replaceAll('\\n', '\n') : readFileSync(text, 'utf8');
      publicKeyVerifier(pem);
      return pem;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      context.addIssue(`must be a public key in PEM, or a path to one: ${reason}`);
      return z.NEVER;
    }
  })
  .optional();

/** The address of Redis. */
export const redisUrl = z
  .string()
  .superRefine((text, context) => {
    try {
      parseRedisUrl(text);
    } catch (error) {
      context.addIssue(error instanceof Error ? error.message : String(error));
    }
  })
  .optional();

/** The address of RabbitMQ. */
export const amqpUrl = z
  .string()
  .refine(
    text => /^amqps?:\/\//.test(text) && URL.canParse(text),
    'must be amqp://user:password@host[:port][/vhost] (amqps for TLS)',
  )
  .optional();

/** The address of a page of the backend. */
export const backendUrl = z
  .string()
  .refine(text => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    return /^https?:\/\//i.test(text) && url !== undefined && url.username === '' && url.password === '';
  }, 'must be the http:// or https:// address of a page of your backend, without a user name and a password')
  .optional();

/** The secret of webhooks; it becomes the key of their signatures. */
export const webhookKey = z
  .string()
  .transform((text, context) => {
    try {
      return signingKeyOf(text);
    } catch (error) {
      context.addIssue(`${reasonOf(error)}; make one with: echo "whsec_$(openssl rand -base64 32)"`);
      return z.NEVER;
    }
  })
  .optional();

/** The name of a topic in Kafka. */
export const topic = z
  .string()
  // With `.dead` after it, it must still be a topic name.
  .regex(/^[\w.-]{1,244}$/, 'must be 1 to 244 ASCII letters, digits and _ . -');

/** The beginning of all keys in Redis. */
export const prefix = z.string().regex(/^[\w.:-]{1,100}$/, 'must be 1 to 100 letters, digits and _ . : -');

/** A port; 0 is any that is free. */
export const port = (defaultValue: number) => whole(defaultValue, 0, 65535);

/** Origins of pages, in lower case. */
export const origins = list(['*'])
  // Browsers send origins in lower case.
  .transform(origins => origins.map(origin => origin.toLowerCase()))
  .superRefine((origins, context) => {
    for (const origin of origins) {
      const right = rightOrigin(origin);
      if (right === origin) continue;
      const fault = origin.includes('://') ? 'has no path and no slash at its end' : 'begins with its scheme';
      context.addIssue(`has ${origin}, but an origin ${fault}; write ${right}`);
    }
  });

/** An entry of ALLOWED_ORIGINS in the form of an Origin header (RFC 6454 §7): a scheme, a host, perhaps a port. */
function rightOrigin(origin: string): string {
  if (origin === 'null') return origin;
  const [, scheme, host = ''] = /^([^/]*:\/\/)?([^/?#]*)/.exec(origin) ?? [];
  // A star at the beginning includes the scheme.
  return (scheme ?? (host.startsWith('*') ? '' : 'https://')) + host;
}
