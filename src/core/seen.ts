import type { Address } from '../model/address.js';

// Ranges that are kept for one connection: some hundred kilobytes at the most.
const MAX_RANGES = 1000;

/** Positions of the window from `from` on, up to `until`, which is not one of them. */
export interface Range {
  readonly from: number;
  readonly until: number;
}

/**
 * What a connection saw through addresses that it has left. The past of another address may bring the same entries
 * again: this is how they are told apart. It is bounded: a connection that leaves and joins without end loses all of it.
 */
export class Seen {
  /** In order, and apart from each other. */
  readonly #ranges = new Map<Address, Range[]>();
  #count = 0;
  #forgotten = 0;

  /** What was seen before this position is not known any more. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /**
   * Remembers a range. Returns false where that was too much, so that everything was forgotten instead.
   * @param first what is before this position is no longer in the window
   */
  add(address: Address, range: Range, first: number): boolean {
    const ranges = this.#ranges.get(address) ?? [];
    const start = search(ranges, seen => seen.until < range.from);
    const end = search(ranges, seen => seen.from <= range.until);
    const merged = {
      from: Math.min(range.from, ranges[start]?.from ?? range.from),
      until: Math.max(range.until, ranges[end - 1]?.until ?? range.until),
    };
    ranges.splice(start, end - start, start < end ? merged : range);
    this.#ranges.set(address, ranges);
    this.#count += 1 - (end - start);
    if (this.#count > MAX_RANGES) this.#trim(first);
    if (this.#count <= MAX_RANGES) return true;
    this.#forgotten = this.#end();
    this.#ranges.clear();
    this.#count = 0;
    return false;
  }

  /** Whether an address brought the entry at a position. */
  has(address: Address, position: number): boolean {
    const ranges = this.#ranges.get(address);
    if (ranges === undefined) return false;
    const range = ranges[search(ranges, ({ until }) => until <= position)];
    return range !== undefined && range.from <= position;
  }

  /** Drops what is no longer in the window. */
  #trim(first: number): void {
    for (const [address, ranges] of this.#ranges) {
      const kept = ranges.slice(search(ranges, seen => seen.until <= first));
      this.#count += kept.length - ranges.length;
      if (kept.length === 0) this.#ranges.delete(address);
      else this.#ranges.set(address, kept);
    }
  }

  #end(): number {
    let end = this.#forgotten;
    for (const ranges of this.#ranges.values()) end = Math.max(end, ranges.at(-1)?.until ?? 0);
    return end;
  }
}

/** The first index of what is not before what is looked for. */
function search<T>(items: readonly T[], isBefore: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(items[middle] as T)) low = middle + 1;
    else high = middle;
  }
  return low;
}
