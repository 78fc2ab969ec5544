import { timingSafeEqual } from 'node:crypto';
import { Problem } from '../model/problem.js';

const BEARER = /^Bearer +(\S+) *$/i;
const WINDOW_MS = 60_000;
const MAX_FAILURES = 20;
const MAX_CALLERS = 10_000;

/** Who may publish and operate. */
export interface Publishers {
  /** Whether a request with this `Authorization` header may. @param caller the network address it came from */
  check(header: string | undefined, caller: string): boolean;
  /** The same, but throws a Problem where it may not. */
  require(header: string | undefined, caller: string): void;
}

/** Whoever gets here: where the permissions of a socket's file are the guard. */
export const EVERYBODY: Publishers = { check: () => true, require: () => undefined };

/** Holders of one of the keys. */
export class PublisherKeys implements Publishers {
  readonly #keys: readonly Buffer[];
  readonly #now: () => number;
  #failures = new Map<string, number>();
  #windowEnd = 0;

  /** @param keys valid at the same time, so that they can be rotated  @param now milliseconds */
  constructor(keys: readonly string[], now: () => number) {
    this.#keys = keys.map(key => Buffer.from(key));
    this.#now = now;
  }

  /**
   * Whether an `Authorization` header carries one of the keys. Throws `rate_limited` for a caller that was
   * wrong more than 20 times in a minute. A right key always passes, however often it was wrong before.
   * @param caller the network address that the request came from
   */
  check(header: string | undefined, caller: string): boolean {
    if (this.#accepts(header)) return true;
    if (header !== undefined) this.#countFailure(caller);
    return false;
  }

  /** Compares in constant time. */
  #accepts(header: string | undefined): boolean {
    const given = Buffer.from(BEARER.exec(header ?? '')?.[1] ?? '');
    let found = false;
    for (const key of this.#keys)
      found = (key.length === given.length && timingSafeEqual(key, given)) || found;
    return found;
  }

  /** The same, but throws `unauthorized` where there is no right key. */
  require(header: string | undefined, caller: string): void {
    if (this.check(header, caller)) return;
    throw new Problem(
      'unauthorized',
      header === undefined
        ? 'Send the header "Authorization: Bearer <key>" with one of the keys in NOTIFY_KEYS.'
        : 'The key in the Authorization header is none of those in NOTIFY_KEYS; it must be "Authorization: Bearer <key>".',
      { headers: { 'WWW-Authenticate': 'Bearer realm="postroom"' } },
    );
  }

  #countFailure(caller: string): void {
    const now = this.#now();
    if (now >= this.#windowEnd || this.#failures.size >= MAX_CALLERS) {
      this.#failures = new Map();
      this.#windowEnd = now + WINDOW_MS;
    }
    const failures = (this.#failures.get(caller) ?? 0) + 1;
    this.#failures.set(caller, failures);
    if (failures <= MAX_FAILURES) return;
    throw new Problem('rate_limited', `More than ${MAX_FAILURES} wrong keys in a minute from this address.`, {
      headers: { 'Retry-After': String(Math.max(1, Math.ceil((this.#windowEnd - now) / 1000))) },
    });
  }
}
