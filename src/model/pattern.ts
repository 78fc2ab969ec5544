/** The most patterns with a `*` that a list made by somebody else may have. */
export const MAX_WILDCARDS = 100;

/**
 * Patterns in which `*` stands for any run of characters, also an empty one. They are compiled once. A pattern comes
 * from a token and must not be able to stall the process, so matching takes time in proportion to the lengths of
 * pattern and name, whatever both are; names without a `*` are looked up.
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
  /** What stands before the first star, between two stars, and behind the last one. */
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
    // The first place that fits leaves most for the parts behind it.
    for (const needle of this.#inner) {
      at = needle.endIn(name, at, end);
      if (at < 0) return false;
    }
    return true;
  }
}

/** A text that is looked for in others, never looking at a character twice (Knuth, Morris and Pratt). */
class Needle {
  readonly #text: string;
  /** For each length, how much of its beginning is its end, too. */
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

  /** Where its first occurrence between two places in a text ends; negative if there is none. */
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

/** Whether a name fits one pattern, which is compiled for this alone. */
export function matches(pattern: string, name: string): boolean {
  return new Patterns([pattern]).match(name);
}
