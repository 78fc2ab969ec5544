import { nextTurn } from '../model/turns.js';

/**
 * Makes batches of items that arrive one by one, and hands them to `handle` in order, one batch at a time. While
 * `handle` works on a batch, the next batch fills. So a source commits many messages at once, and in order.
 */
export class Batcher<T> {
  readonly #handle: (items: T[]) => Promise<void>;
  #waiting: T[] = [];
  #handling: Promise<void> | undefined;

  /** @param handle must not reject */
  constructor(handle: (items: T[]) => Promise<void>) {
    this.#handle = handle;
  }

  /** How many items wait for the next batch. */
  get size(): number {
    return this.#waiting.length;
  }

  push(item: T): void {
    this.#waiting.push(item);
    this.#handling ??= this.#work();
  }

  /** Drops the items that wait. Resolves when `handle` has finished the batch that it works on. */
  async clear(): Promise<void> {
    this.#waiting = [];
    await this.#handling;
  }

  async #work(): Promise<void> {
    // One piece from the network has many items: this waits until all of them are here.
    await nextTurn();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      await this.#handle(batch);
    }
    this.#handling = undefined;
  }
}
