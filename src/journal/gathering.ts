const LONGEST_WAIT_MS = 1;

/**
 * When those who append have gathered: publishers who were just answered come back one after another, and each that
 * a write waits for spares the next one.
 */
export class Gathering {
  /** How many there were the last time. */
  #lastSize = 0;

  /** Resolves after a turn that brought nothing more, when as many are here as last time; a millisecond at the most. */
  async settled(gathered: readonly unknown[]): Promise<void> {
    const deadline = performance.now() + LONGEST_WAIT_MS;
    // The rest of this turn first: only what comes after it was waited for.
    await turnEnd();
    for (let size = 0; gathered.length > size || gathered.length < this.#lastSize; ) {
      size = gathered.length;
      await turnEnd();
      if (performance.now() > deadline) break;
    }
    this.#lastSize = gathered.length;
  }
}

/** Resolves in the next turn of the event loop. */
export function turnEnd(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}
