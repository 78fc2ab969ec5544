const KEPT = 1_000;

/** Ids seen lately. Ids are opaque, so it remembers instead of comparing; the oldest make room. */
export class Recent {
  readonly #ids = new Map<string, number>();

  /** Whether an id is new; from then on it is not. */
  add(id: string, at = 0): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.set(id, at);
    for (const oldest of this.#ids.keys()) {
      if (this.#ids.size > KEPT) this.#ids.delete(oldest);
      break;
    }
    return true;
  }

  /** Forgets what is older than a moment, and returns the others in their order. */
  since(time: number): Iterable<string> {
    for (const [id, at] of this.#ids) if (at < time) this.#ids.delete(id);
    return this.#ids.keys();
  }
}
