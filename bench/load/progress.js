/**
 * How far the listeners are. Each has its own count; only the slowest matters. A ring knows how many listeners are at
 * each count, so a step takes constant time. `window` is the largest distance between them.
 */
export class Progress {
  slowest = 0;
  #standing;
  #mask;

  constructor(listeners, window) {
    const size = 2 ** Math.ceil(Math.log2(window + 1));
    this.#standing = new Int32Array(size);
    this.#mask = size - 1;
    this.#standing[0] = listeners;
  }

  /** One listener went from one count to another. Returns true if that moved the slowest. */
  step(from, to) {
    const before = this.slowest;
    this.#standing[from & this.#mask]--;
    this.#standing[to & this.#mask]++;
    while (this.#standing[this.slowest & this.#mask] === 0) this.slowest++;
    return this.slowest > before;
  }
}
