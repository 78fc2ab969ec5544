import { timingSafeEqual } from 'node:crypto';
import { Problem } from '../model/problem.js';

const BEARER = /^Bearer +(\S+) *$/i;
const FORM = '"Authorization: Bearer <key>"';

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
  readonly #areMadeUp: boolean;

  /**
   * @param keys valid at the same time, so that they can be rotated
   * @param areMadeUp whether the server has made them up at this start
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
