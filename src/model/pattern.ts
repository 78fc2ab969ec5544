/** The most patterns with a `*` in a list that somebody else has made. */
export const MAX_WILDCARDS = 100;

/**
 * Patterns in which `*` stands for any characters, or for none. They are compiled once. Patterns from a token must not
 * be able to stall the process: matching always takes time in proportion to the lengths of pattern and name. Patterns
 * without a `*` are looked up.
 */
export class Patterns {
  readonly #names = new Set<string>();
  readonly #globs: Glob[] = [];

  constructor(patterns: Iterable<string>) {
    for (const pattern of patterns) {
      if (pattern.includes('*')) this.#globs.push(new Glob(pattern));
      else this.#names.add(pattern);
    }
  }

  get isEmpty(): boolean {
    return this.#names.size === 0 && this.#globs.length === 0;
  }

  /** Whether one of them matches the whole name. */
  match(name: string): boolean {
    return this.#names.has(name) || this.#globs.some(glob => glob.matches(name));
  }
}

/** One pattern with a `*`. */
class Glob {
  /** The parts before the first star, between two stars, and after the last one. */
  readonly #prefix: string;
  readonly #inner: readonly Needle[];
  readonly #suffix: string;

  constructor(pattern: string) {
    const parts = pattern.split('*');
    this.#prefix = parts[0] ?? '';
    this.#suffix = parts.at(-1) ?? '';
    this.#inner = parts.slice(1, -1).flatMap(part => (part === '' ? [] : new Needle(part)));
  }

  matches(name: string): boolean {
    const end = name.length - this.#suffix.length;
    if (end < this.#prefix.length || !name.startsWith(this.#prefix) || !name.endsWith(this.#suffix))
      return false;
    let at = this.#prefix.length;
    // The first match leaves most for the parts after it.
    for (const needle of this.#inner) {
      at = needle.endIn(name, at, end);
      if (at < 0) return false;
    }
    return true;
  }
}

/** Finds a text in others, and never looks at a character twice (Knuth, Morris and Pratt). */
class Needle {
  readonly #text: string;
  /** For each length of its beginning: how much of that beginning is also its end. */
  readonly #borders: readonly number[];

  constructor(text: string) {
    this.#text = text;
    const borders = [0, 0];
    for (let length = 1, border = 0; length < text.length; length++) {
      while (border > 0 && text[border] !== text[length]) border = borders[border] ?? 0;
      if (text[border] === text[length]) border++;
      borders.push(border);
    }
    this.#borders = borders;
  }

  /** The end of its first occurrence between two positions of a text; negative if there is none. */
  endIn(text: string, from: number, until: number): number {
    let found = 0;
    for (let at = from; at < until; at++) {
      while (found > 0 && this.#text[found] !== text[at]) found = this.#borders[found] ?? 0;
      if (this.#text[found] === text[at]) found++;
      if (found === this.#text.length) return at + 1;
    }
    return -1;
  }
}

/** Whether a name matches one pattern, which is compiled only for this. */
export function matches(pattern: string, name: string): boolean {
  return new Patterns([pattern]).match(name);
}
