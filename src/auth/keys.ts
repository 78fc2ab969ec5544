import { timingSafeEqual } from 'node:crypto';
import { Problem } from '../model/problem.js';

const BEARER = /^Bearer +(\S+) *$/i;

/** Who may publish and operate. */
export interface Publishers {
  /** Whether a request with this `Authorization` header may. */
  check(header: string | undefined): boolean;
  /** The same, but throws a Problem (`unauthorized`) where it may not. */
  require(header: string | undefined): void;
}

/** Whoever gets here: where the permissions of a socket's file are the guard. */
export const NO_AUTHENTICATION: Publishers = { check: () => true, require: () => undefined };

/** Holders of one of the keys. */
export class PublisherKeys implements Publishers {
  readonly #keys: readonly Buffer[];

  /** @param keys valid at the same time, so that they can be rotated */
  constructor(keys: readonly string[]) {
    this.#keys = keys.map(key => Buffer.from(key));
  }

  /** Compares in constant time. */
  check(header: string | undefined): boolean {
    const given = Buffer.from(BEARER.exec(header ?? '')?.[1] ?? '');
    let found = false;
    for (const key of this.#keys)
      found = (key.length === given.length && timingSafeEqual(key, given)) || found;
    return found;
  }

  require(header: string | undefined): void {
    if (this.check(header)) return;
    throw new Problem(
      'unauthorized',
      header === undefined
        ? 'Send the header "Authorization: Bearer <key>" with one of the keys in NOTIFY_KEYS.'
        : 'The key in the Authorization header is none of those in NOTIFY_KEYS; it must be "Authorization: Bearer <key>".',
      { headers: { 'WWW-Authenticate': 'Bearer realm="postroom"' } },
    );
  }
}
