/** A part of a server. Its `stop` may be called twice, and before its `start`. */
export interface Part {
  start?(): unknown;
  stop?(): unknown;
}

/** Starts parts in order, and stops them in reverse order. Parts of an inner list start and stop together. */
export class Parts {
  readonly #parts: readonly (readonly Part[])[];

  constructor(parts: readonly (Part | readonly Part[])[]) {
    this.#parts = parts.map(part => [part].flat());
  }

  /** If a part cannot start, stops all parts, then rejects with the first error. */
  async start(): Promise<void> {
    try {
      for (const parts of this.#parts) throwFirst(await settled(parts, part => part.start?.()));
    } catch (error) {
      await this.stop().catch(() => undefined);
      throw error;
    }
  }

  /** Stops all parts, also behind one that fails; then rejects with the first error. */
  async stop(): Promise<void> {
    const results: PromiseSettledResult<unknown>[] = [];
    for (const parts of this.#parts.toReversed())
      results.push(...(await settled(parts, part => part.stop?.())));
    throwFirst(results);
  }
}

function settled(parts: readonly Part[], act: (part: Part) => unknown) {
  return Promise.allSettled(parts.map(async part => act(part)));
}

function throwFirst(results: readonly PromiseSettledResult<unknown>[]): void {
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
