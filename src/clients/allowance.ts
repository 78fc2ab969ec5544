// How many seconds of its rate a client may send at once.
const BURST_SECONDS = 2;

/** How much a client may still send now: so many messages a second, in bursts of twice as many (a token bucket). */
export class Allowance {
  readonly #perSecond: number;
  #left: number;
  /** In milliseconds of `elapsed`. */
  #at = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#left = perSecond * BURST_SECONDS;
  }

  /**
   * Takes one message of it. Returns false if nothing is left.
   * @param now in milliseconds of `elapsed`
   */
  take(now: number): boolean {
    const more = (Math.max(0, now - this.#at) / 1000) * this.#perSecond;
    this.#at = now;
    this.#left = Math.min(this.#perSecond * BURST_SECONDS, this.#left + more);
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
