/** A part of a server. Its `stop` may be called twice, and before its `start`. */
export interface Part {
  start?(): unknown;
  stop?(): unknown;
}

/** Starts parts in order, and stops them in reverse order. Parts of an inner list start and stop together. */
export class Parts {
  readonly #parts: readonly (Part | readonly Part[])[];

  constructor(parts: readonly (Part | readonly Part[])[]) {
    this.#parts = parts;
  }

  /** If a part cannot start, stops all parts, then rejects with the error. */
  async start(): Promise<void> {
    try {
      for (const part of this.#parts) await Promise.all([part].flat().map(each => each.start?.()));
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    for (const part of this.#parts.toReversed()) await Promise.all([part].flat().map(each => each.stop?.()));
  }
}
