import type { Clock, Token } from './types.js';

const RETRY_MS = 5_000;
// Browsers take a longer wait for none at all.
const LONGEST_WAIT_MS = 2 ** 31 - 1;
// Anything else, such as a login page, would be a SyntaxError of the WebSocket.
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** The token that is in use, and when it is time for another. */
export class Tokens {
  readonly #fetch: () => Token | Promise<Token>;
  readonly #clock: Clock;
  readonly #random: () => number;
  #token: Token;
  #expiresAt = 0;
  /** 0: not known. So it is where our clock says that a fresh token has expired, for then our clock is wrong. */
  #dueAt = 0;
  #timer: unknown;

  constructor(fetch: () => Token | Promise<Token>, clock: Clock, random: () => number) {
    this.#fetch = fetch;
    this.#clock = clock;
    this.#random = random;
  }

  /** A token that is good for a new connection. Rejects where the application has none to give. */
  async get(): Promise<Token> {
    return this.#clock.now() < this.#dueAt ? this.#token : this.#renew();
  }

  /** The server says that the one in use has expired, whatever our clock says. */
  expired(): void {
    this.#dueAt = 0;
  }

  /** The server says when the one in use expires, in seconds since the epoch. */
  expires(seconds: number | undefined): void {
    this.#expiresAt = (seconds ?? 0) * 1000;
    this.#plan();
  }

  /** From now on hands over a fresh token in time before the one in use expires, again and again. */
  watch(fresh: (token: string) => void, failed: (cause: unknown) => void): void {
    this.rest();
    if (this.#dueAt === 0) return;
    const timer = this.#clock.setTimeout(
      async () => {
        try {
          const token = await this.#renew();
          // While the application was asked, the connection may have been lost.
          if (timer === this.#timer && token) fresh(token);
        } catch (cause) {
          if (timer !== this.#timer) return;
          this.#plan();
          failed(cause);
        }
        if (timer === this.#timer) this.watch(fresh, failed);
      },
      Math.min(this.#dueAt - this.#clock.now(), LONGEST_WAIT_MS),
    );
    this.#timer = timer;
  }

  rest(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #renew(): Promise<Token> {
    const token = await this.#fetch();
    if (token && !JWT.test(token)) throw new TypeError('token() did not bring a JWT');
    this.#token = token;
    this.expires(this.#token ? expiryOf(this.#token) : undefined);
    return this.#token;
  }

  /** When four fifths to nine tenths of the time left have passed, so that those that began together spread. */
  #plan(): void {
    const now = this.#clock.now();
    const left = this.#expiresAt - now;
    this.#dueAt = left > 0 ? now + Math.max(left * (0.8 + this.#random() / 10), RETRY_MS) : 0;
  }
}

/** When a JWT expires, in seconds since the epoch; undefined if it does not say so. */
function expiryOf(token: string): number | undefined {
  try {
    return JSON.parse(atob(token.split('.')[1]?.replace(/-/g, '+').replace(/_/g, '/') ?? '')).exp;
  } catch {
    return undefined;
  }
}
