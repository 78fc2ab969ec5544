import { timingSafeEqual } from 'node:crypto';
import { Problem } from '../model/problem.js';

const BEARER = /^Bearer +(\S+) *$/i;
const FORM = '"Authorization: Bearer <key>"';

/** Decides whether a request may publish or operate. */
export interface Publishers {
  /** Whether a request with this `Authorization` header is allowed. */
  check(header: string | undefined): boolean;
  /** Throws a Problem (`unauthorized`) if the request is not allowed. */
  require(header: string | undefined): void;
}

/** Allows every request: the permissions of a socket's file are the guard. */
export const NO_AUTHENTICATION: Publishers = { check: () => true, require: () => undefined };

/** Allows requests that send one of the keys. */
export class PublisherKeys implements Publishers {
  readonly #keys: readonly Buffer[];
  readonly #areMadeUp: boolean;

  /**
   * @param keys all of them are valid, so that keys can be rotated
   * @param areMadeUp whether the server made them at this start
   */
  constructor(keys: readonly string[], areMadeUp = false) {
    this.#keys = keys.map(key => Buffer.from(key));
    this.#areMadeUp = areMadeUp;
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
    throw new Problem('unauthorized', this.#whyNot(header), {
      headers: { 'WWW-Authenticate': 'Bearer realm="postroom"' },
    });
  }

  #whyNot(header: string | undefined): string {
    if (header === undefined) return `Send the header ${FORM} with one of the keys in NOTIFY_KEYS.`;
    if (!BEARER.test(header))
      return `The Authorization header must be ${FORM}, with one of the keys in NOTIFY_KEYS.`;
    if (this.#areMadeUp)
      return 'The key in the Authorization header is not right. NOTIFY_KEYS is not set, so the server makes a new key at each start: take the one that its terminal shows now.';
    return 'The key in the Authorization header is none of the keys in NOTIFY_KEYS.';
  }
}
