/**
 * How far the listeners are: each has its own count, and what matters is the slowest. Kept in constant time
 * per step as a ring that says how many listeners stand at each count; `window` is how far they may be apart.
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

  /** One listener went from one count to another; true if that moved the slowest. */
  step(from, to) {
    const before = this.slowest;
    this.#standing[from & this.#mask]--;
    this.#standing[to & this.#mask]++;
    while (this.#standing[this.slowest & this.#mask] === 0) this.slowest++;
    return this.slowest > before;
  }
}
