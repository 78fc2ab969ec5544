import type { Address } from '../model/address.js';

// The most ranges for one connection: at most some hundred kilobytes.
const MAX_RANGES = 1000;

/** Positions of the window from `from` up to `until`, not including `until`. */
export interface Range {
  readonly from: number;
  readonly until: number;
}

/**
 * Entries that a connection saw through addresses that it has left. The past of another address may contain the same
 * entries: they must not be sent again. If a connection leaves and joins too often, all of this is forgotten.
 */
export class Seen {
  /** In order, with gaps between them. */
  readonly #ranges = new Map<Address, Range[]>();
  #count = 0;
  #forgotten = 0;

  /** It is not known any more what was seen before this position. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /**
   * Remembers a range. If there are too many, forgets everything instead, and returns false.
   * @param first the first position that is still in the window
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

  /** Whether the entry at a position came through an address. */
  has(address: Address, position: number): boolean {
    const ranges = this.#ranges.get(address);
    if (ranges === undefined) return false;
    const range = ranges[search(ranges, ({ until }) => until <= position)];
    return range !== undefined && range.from <= position;
  }

  /** Drops ranges that are no longer in the window. */
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

/** The index of the first item for which `isBefore` is false. */
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
