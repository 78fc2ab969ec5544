import sortedBTree from 'sorted-btree';
import { Fifo } from '../../model/fifo.js';
import type { Entry } from '../../model/notification.js';
import { sortableTime } from '../../model/sortable-ids.js';

const { default: BTree } = sortedBTree;

/** An entry whose time to be acknowledged is over. */
export interface Deadline {
  /** Deadlines are in the order of their keys. */
  readonly key: string;
  readonly entry: Entry;
}

/**
 * The notifications that should be acknowledged, in the order of their deadlines. One that leaves the window before
 * somebody looked at its deadline is kept apart: `RETENTION_BYTES` is too small, or its time is as long as the retention.
 */
export class Deadlines {
  readonly #entries = new BTree<string, Entry>();
  readonly #left = new Fifo<{ readonly at: number; readonly deadline: Deadline }>();
  readonly #now: () => number;
  #isWatched = false;

  /** @param now the journal's clock, in milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Call this before the first entry if somebody looks at the deadlines. Otherwise nothing is kept. */
  watch(): void {
    this.#isWatched = true;
  }

  add(entry: Entry): void {
    if (this.#isWatched && entry.notification.ack !== undefined) this.#entries.set(keyOf(entry), entry);
  }

  /** Call this when an entry leaves the window. */
  dropped(entry: Entry): void {
    if (!this.#isWatched || entry.notification.ack === undefined) return;
    const key = keyOf(entry);
    if (!this.#entries.delete(key)) return;
    this.#left.push({ at: this.#now(), deadline: { key, entry } });
  }

  /** The next deadlines behind a key that are over at a moment, at most so many. */
  over(after: string, until: number, limit: number): Deadline[] {
    const found: Deadline[] = [];
    for (const [key, entry] of this.#entries.entries(`${after}\0`)) {
      if (found.length === limit || key > keyAt(until)) break;
      found.push({ key, entry });
    }
    return found;
  }

  /** The first of those that left the window. */
  get firstLeft(): Deadline | undefined {
    return this.#left.at(this.#left.first)?.deadline;
  }

  /** The first of those that left has been looked at. */
  shiftLeft(): void {
    this.#left.shift();
  }

  /** Another node looks at those that left the window up to a moment. */
  forgetLeft(until: number): void {
    while ((this.#left.at(this.#left.first)?.at ?? Number.POSITIVE_INFINITY) <= until) this.#left.shift();
  }
}

function keyOf(entry: Entry): string {
  return `${sortableTime(deadlineOf(entry))} ${entry.id}`;
}

/** When the time of an entry is over, in milliseconds since the epoch. */
export function deadlineOf({ time, notification: { ack = 0 } }: Entry): number {
  return time + ack * 1000;
}

/** A key behind all deadlines up to a moment. */
export function keyAt(milliseconds: number): string {
  return `${sortableTime(milliseconds)}!`;
}
