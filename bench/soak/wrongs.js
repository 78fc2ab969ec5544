/** Everything that went wrong: how often, and the first of each kind in words. */
const SHOWN = 5;

export class Wrongs {
  #kinds = new Map();

  /** @param times how many at once, for example notifications in a gap */
  note(kind, words, times = 1) {
    const known = this.#kinds.get(kind) ?? { times: 0, words: [] };
    known.times += times;
    if (known.words.length < SHOWN) known.words.push(`${new Date().toISOString()} ${kind}: ${words}`);
    this.#kinds.set(kind, known);
  }

  get any() {
    return this.#kinds.size > 0;
  }

  count(kind) {
    return this.#kinds.get(kind)?.times ?? 0;
  }

  summary() {
    return [...this.#kinds].map(([kind, { times }]) => `${kind} ${times}`).join(', ');
  }

  lines() {
    return [...this.#kinds.values()].flatMap(({ words }) => words);
  }
}
