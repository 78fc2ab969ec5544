/**
 * Hands what arrives one by one to `handle` in chunks, in order, one chunk at a time: while one is being handled the
 * next gathers. So a source that is pushed messages commits many of them at once, and never out of order.
 */
export class Gatherer<T> {
  readonly #handle: (items: T[]) => Promise<void>;
  #waiting: T[] = [];
  #handling: Promise<void> | undefined;

  /** @param handle must not reject: what went wrong is the source's to deal with */
  constructor(handle: (items: T[]) => Promise<void>) {
    this.#handle = handle;
  }

  /** How many wait for their turn. */
  get size(): number {
    return this.#waiting.length;
  }

  push(item: T): void {
    this.#waiting.push(item);
    this.#handling ??= this.#work();
  }

  /** Forgets what waits; resolves when the chunk under way, if there is one, is done. */
  async clear(): Promise<void> {
    this.#waiting = [];
    await this.#handling;
  }

  async #work(): Promise<void> {
    // What arrived in the same piece from the network comes along.
    await new Promise(resolve => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const chunk = this.#waiting;
      this.#waiting = [];
      await this.#handle(chunk);
    }
    this.#handling = undefined;
  }
}
