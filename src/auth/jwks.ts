import { createRemoteJWKSet, customFetch, type FetchImplementation, type JWK } from 'jose';
import type { Logger } from 'pino';
import type { After } from '../model/clock.js';
import { reasonOf } from '../model/reason.js';
import { jwkVerifier, type Verifier } from './verifier.js';

const REFRESH_MS = 600_000;
const RETRY_MS = 60_000;
const LOOK_UP_EVERY_MS = 10_000;
const TIMEOUT_MS = 3000;
const MAX_BYTES = 256 * 1024;
const MAX_KEYS = 100;
const MAX_LOGGED_CHARACTERS = 100;

interface RemoteKey extends Verifier {
  readonly kid: string | undefined;
}

/**
 * The public keys that a backend publishes as a JWK Set (RFC 7517 §5). They are fetched in the background, and hold
 * until the backend publishes others: an endpoint that is down takes no key away.
 */
export class RemoteKeys {
  readonly #url: string;
  readonly #now: () => number;
  readonly #after: After;
  readonly #log: Logger;
  readonly #set: ReturnType<typeof createRemoteJWKSet>;
  #keys: readonly RemoteKey[] = [];
  #wereReached = false;
  #loading: Promise<void> | undefined;
  #lookedUpAt = Number.NEGATIVE_INFINITY;
  #cancelNext: (() => void) | undefined;
  #abort: AbortController | undefined;
  #isFailing = false;
  #isStopped = false;
  /** The last log line about keys that cannot be used. */
  #unusable = '';

  constructor(options: {
    url: string;
    /** Milliseconds since the epoch. */
    now: () => number;
    after: After;
    /** Gets one line for each outage, and one for each change of the keys that cannot be used. */
    log: Logger;
    /** How long a request may last. */
    timeoutMs?: number;
  }) {
    this.#url = options.url;
    this.#now = options.now;
    this.#after = options.after;
    this.#log = options.log;
    // Only reload() and jwks() are used: as a resolver it would forget its keys with age, and make verifying wait.
    this.#set = createRemoteJWKSet(new URL(options.url), {
      timeoutDuration: options.timeoutMs ?? TIMEOUT_MS,
      [customFetch]: (url, request) => this.#fetch(url, request),
    });
  }

  /** Whether the endpoint has ever given a key that can be used. */
  get wereReached(): boolean {
    return this.#wereReached;
  }

  /** Begins to load the keys. Does not wait for them: the backend may start later than this server. */
  start(): Promise<void> {
    void this.#load();
    return Promise.resolve();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelNext?.();
    this.#abort?.abort();
  }

  /** Whether there is a key with this `kid`; any key, if a token names none. */
  has(kid: string | undefined): boolean {
    return this.#keys.some(key => kid === undefined || key.kid === kid);
  }

  /** The keys that may check a token with this header. */
  matching(header: { alg: string; kid?: string | undefined }): readonly Verifier[] {
    return this.#keys.filter(
      ({ kid, algorithms }) =>
        (header.kid === undefined || header.kid === kid) &&
        algorithms.some(algorithm => algorithm === header.alg),
    );
  }

  /** Loads the keys now, unless that was done in the last 10 seconds. Never rejects, and ends after 3 seconds. */
  lookUp(): Promise<void> | undefined {
    if (this.#loading !== undefined || this.#isStopped) return this.#loading;
    const now = this.#now();
    // The clock may have been set back.
    if (Math.abs(now - this.#lookedUpAt) < LOOK_UP_EVERY_MS) return undefined;
    this.#lookedUpAt = now;
    return this.#load();
  }

  #load(): Promise<void> {
    this.#cancelNext?.();
    this.#loading ??= this.#reload().finally(() => {
      this.#loading = undefined;
      if (!this.#isStopped)
        this.#cancelNext = this.#after(this.#isFailing ? RETRY_MS : REFRESH_MS, () => void this.#load());
    });
    return this.#loading;
  }

  async #reload(): Promise<void> {
    try {
      await this.#set.reload();
      const jwks = this.#set.jwks()?.keys ?? [];
      if (jwks.length > MAX_KEYS) throw new Error(`it has more than ${MAX_KEYS} keys`);
      this.#take(jwks);
      if (this.#isFailing) this.#log.info({ url: this.#url }, 'the keys at JWT_JWKS_URL can be loaded again');
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isStopped && !this.#isFailing)
        this.#log.warn(
          { err: error, url: this.#url },
          'the keys at JWT_JWKS_URL cannot be loaded; trying again, and keeping those that are known',
        );
      this.#isFailing = true;
    }
  }

  /** A key that is no longer published is no longer taken, also if none is left: so keys can be withdrawn. */
  #take(jwks: readonly JWK[]): void {
    const keys: RemoteKey[] = [];
    const unusable: string[] = [];
    for (const jwk of jwks) {
      const kid = typeof jwk.kid === 'string' ? jwk.kid : undefined;
      try {
        keys.push({ kid, ...jwkVerifier(jwk) });
      } catch (error) {
        unusable.push(`${kid ?? '(no kid)'}: ${reasonOf(error)}`.slice(0, MAX_LOGGED_CHARACTERS));
      }
    }
    this.#keys = keys;
    this.#wereReached ||= keys.length > 0;
    this.#tell(keys.length, unusable);
  }

  #tell(usable: number, unusable: string[]): void {
    const line = usable > 0 && unusable.length === 0 ? '' : `${usable > 0} ${unusable.join()}`;
    if (line !== '' && line !== this.#unusable) {
      const fields = { url: this.#url, unusable };
      if (usable > 0) this.#log.info(fields, 'some keys at JWT_JWKS_URL cannot check tokens');
      else this.#log.warn(fields, 'no key at JWT_JWKS_URL can check tokens');
    }
    this.#unusable = line;
  }

  /** Fetches a document of a bounded size. */
  async #fetch(...[url, request]: Parameters<FetchImplementation>): Promise<Response> {
    // AbortSignal.any() would do, but in some versions of Node it is collected before it aborts.
    const abort = new AbortController();
    request.signal.addEventListener('abort', () => abort.abort(request.signal.reason));
    this.#abort = abort;
    const response = await fetch(url, { ...request, signal: abort.signal });
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of response.body ?? []) {
      bytes += part.length;
      if (bytes > MAX_BYTES) throw new Error(`it has more than ${MAX_BYTES} bytes`);
      parts.push(part);
    }
    if (response.status !== 200)
      throw new Error(
        `it answered with status ${response.status}; 200 is needed, redirects are not followed`,
      );
    return new Response(Buffer.concat(parts));
  }
}
