import sortedBTree from 'sorted-btree';
import type { Entry } from '../../model/notification.js';

const { default: BTree } = sortedBTree;

const DIGITS = 15;
// The node that watches the deadlines looks every second. Other nodes need not keep what left early for long.
const KEPT_MS = 10_000;

/** An entry whose time to be acknowledged is over. */
export interface Deadline {
  /** Deadlines are in the order of their keys. */
  readonly key: string;
  readonly entry: Entry;
}

/**
 * The notifications that should be acknowledged, in the order of their deadlines. One that leaves the window before its
 * deadline, because `RETENTION_BYTES` is too small, is due at once.
 */
export class Deadlines {
  readonly #entries = new BTree<string, Entry>();
  #early: { readonly at: number; readonly deadline: Deadline }[] = [];
  readonly #now: () => number;

  /** @param now the journal's clock, in milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
  }

  add(entry: Entry): void {
    if (entry.notification.ack !== undefined) this.#entries.set(keyOf(entry), entry);
  }

  /** Call this when an entry leaves the window. */
  dropped(entry: Entry): void {
    if (entry.notification.ack === undefined) return;
    const key = keyOf(entry);
    if (!this.#entries.delete(key)) return;
    const now = this.#now();
    this.#early = this.#early.filter(({ at }) => at > now - KEPT_MS);
    if (key > keyAt(now)) this.#early.push({ at: now, deadline: { key, entry } });
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

  /** Takes those that left the window before their deadline. */
  takeEarly(): Deadline[] {
    return this.#early.splice(0).map(({ deadline }) => deadline);
  }
}

function keyOf({ id, time, notification: { ack = 0 } }: Entry): string {
  return `${String(time + ack * 1000).padStart(DIGITS, '0')} ${id}`;
}

/** A key behind all deadlines up to a moment. */
export function keyAt(milliseconds: number): string {
  return `${String(milliseconds).padStart(DIGITS, '0')}!`;
}
