const KEPT = 1_000;

/** Ids seen lately. Ids are opaque, so it remembers instead of comparing; the oldest make room. */
export class Recent {
  readonly #ids = new Set<string>();

  /** Whether an id is new; from then on it is not. */
  add(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    for (const oldest of this.#ids) {
      if (this.#ids.size > KEPT) this.#ids.delete(oldest);
      break;
    }
    return true;
  }
}
