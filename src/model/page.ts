/** Which part of a list that is ordered by name is asked for. */
export interface PageRequest {
  /** The names of the page are behind this one; undefined for the first page. */
  readonly after?: string | undefined;
  /** The most items. */
  readonly limit: number;
}

/** A part of a list that is ordered by name. */
export interface Page<T> {
  readonly items: [name: string, item: T][];
  /** Whether the list goes on behind the last item. Then there is at least one item. */
  readonly more: boolean;
}

/** Collects the first names behind a name, each with a value, out of names in any order. */
export class FirstNames<V> {
  readonly #after: string | undefined;
  readonly #limit: number;
  readonly #values = new Map<string, V>();
  /** In order. */
  readonly #names: string[] = [];
  #more = false;

  constructor({ after, limit }: PageRequest) {
    this.#after = after;
    this.#limit = limit;
  }

  /** Sets the value of a name; `change` gets the value that it has. A name may come many times. */
  add(name: string, change: (before: V | undefined) => V): void {
    if (this.#after !== undefined && name <= this.#after) return;
    const before = this.#values.get(name);
    if (before === undefined && !this.#make(name)) return;
    this.#values.set(name, change(before));
  }

  get page(): Page<V> {
    return { items: this.#names.map(name => [name, this.#values.get(name) as V]), more: this.#more };
  }

  /** Makes room for a new name. Returns false if it is behind all others and there is no room. */
  #make(name: string): boolean {
    if (this.#names.length === this.#limit) {
      this.#more = true;
      const last = this.#names.at(-1);
      if (last === undefined || name > last) return false;
      this.#names.pop();
      this.#values.delete(last);
    }
    this.#names.splice(lowerBound(this.#names, name), 0, name);
    return true;
  }
}

/** The index of the first name that is not before this one. */
function lowerBound(names: readonly string[], name: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] ?? name) < name) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Makes one page of the pages of several nodes. `join` puts together the items that they have of one name. */
export function mergePages<T>(pages: readonly Page<T>[], limit: number, join: (a: T, b: T) => T): Page<T> {
  // Behind the last name of a page that was cut, nothing is known.
  const cuts = pages.flatMap(({ items, more }) => (more ? (items.at(-1)?.[0] ?? []) : []));
  const merged = new Map<string, T>();
  let isCut = false;
  for (const [name, item] of pages.flatMap(({ items }) => items)) {
    if (cuts.some(cut => name > cut)) {
      isCut = true;
      continue;
    }
    const before = merged.get(name);
    merged.set(name, before === undefined ? item : join(before, item));
  }
  const items = [...merged].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    items: items.slice(0, limit),
    more: isCut || items.length > limit || pages.some(({ more }) => more),
  };
}
