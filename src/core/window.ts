import type { Address } from '../model/address.js';
import { Fifo } from '../model/fifo.js';
import { compareMoments, formatId, type Id, type Moment, parseId } from '../model/id.js';
import type { Entry } from '../model/notification.js';
import { type Retention, weigh } from '../model/retention.js';

// What an address that has a past takes beside its entries: its list, and its place in the table.
const ADDRESS_BYTES = 256;

interface Slot {
  readonly entry: Entry;
  readonly bytes: number;
}

/**
 * The recent past of the journal in memory, every entry at a position for life. Beside the entries in order
 * it keeps the positions of each address, so that a reader touches only what is addressed to it.
 */
export class Window {
  readonly #retention: Retention;
  readonly #now: () => number;
  readonly #slots = new Fifo<Slot>();
  readonly #positions = new Map<Address, Fifo<number>>();
  #bytes = 0;
  /** What came before it, or at it, is gone. */
  #floor: Moment = { time: 0, sequence: 0 };
  #newest: Moment = { time: 0, sequence: 0 };

  /** @param now milliseconds since the epoch */
  constructor(retention: Retention, now: () => number) {
    this.#retention = retention;
    this.#now = now;
  }

  /** Position of the oldest entry. */
  get first(): number {
    return this.#slots.first;
  }

  /** Position that the next entry will get. */
  get end(): number {
    return this.#slots.end;
  }

  get entries(): number {
    return this.#slots.size;
  }

  /** Bytes that the entries, and the positions of each address, are counted with against the retention. */
  get bytes(): number {
    return this.#bytes + this.#positions.size * ADDRESS_BYTES;
  }

  /** Addresses that have a past. */
  get addresses(): number {
    return this.#positions.size;
  }

  /** Tells how far the journal's past reaches back: to just after this id. */
  beginAfter(id: Id): void {
    const moment = parseId(id);
    if (moment === undefined) throw new Error(`the journal's past begins after ${id}, which is no id`);
    if (compareMoments(moment, this.#floor) > 0) this.#floor = moment;
    if (compareMoments(moment, this.#newest) > 0) this.#newest = moment;
  }

  /** Takes the next entry of the journal, newer than all before. Nothing is trimmed until `trim`. */
  add(entry: Entry): number {
    const position = this.#slots.end;
    const bytes = weigh(entry.notification);
    this.#slots.push({ entry, bytes });
    this.#bytes += bytes;
    this.#newest = entry;
    for (const address of entry.notification.addresses) {
      const known = this.#positions.get(address);
      if (known !== undefined) {
        known.push(position);
        continue;
      }
      const positions = new Fifo<number>();
      positions.push(position);
      this.#positions.set(address, positions);
    }
    return position;
  }

  /** Drops what is older than the retention, and the oldest of what does not fit it. */
  trim(): void {
    const oldest = this.#now() - this.#retention.seconds * 1000;
    for (;;) {
      const slot = this.#slots.at(this.#slots.first);
      if (slot === undefined) return;
      if (slot.entry.time >= oldest && this.bytes <= this.#retention.bytes) return;
      this.#dropFirst(slot);
    }
  }

  /** Forgets everything: what came before this id, or at it, is gone. */
  forget(until: Id): void {
    for (
      let slot = this.#slots.at(this.#slots.first);
      slot !== undefined;
      slot = this.#slots.at(this.#slots.first)
    )
      this.#dropFirst(slot);
    this.beginAfter(until);
  }

  entryAt(position: number): Entry | undefined {
    return this.#slots.at(position)?.entry;
  }

  /** Whether a cursor was given by a node that is further than this one. */
  isAhead(cursor: string): boolean {
    const moment = parseId(cursor);
    return moment !== undefined && compareMoments(moment, this.#newest) > 0;
  }

  /** The position after a cursor; undefined where the past no longer reaches back to it, or it was never given. */
  after(cursor: string): number | undefined {
    const moment = parseId(cursor);
    if (moment === undefined) return undefined;
    if (compareMoments(moment, this.#floor) < 0 || compareMoments(moment, this.#newest) > 0) return undefined;
    const position = this.#search(moment);
    const found = this.entryAt(position);
    return found !== undefined && compareMoments(found, moment) === 0 ? position + 1 : position;
  }

  /** The cursor of one who has everything before a position. */
  cursorAt(position: number): Id {
    if (position >= this.end) return formatId(this.#newest);
    return this.entryAt(position - 1)?.id ?? formatId(this.#floor);
  }

  /** Positions of what is addressed to an address, in order. */
  positionsOf(address: Address): Fifo<number> | undefined {
    return this.#positions.get(address);
  }

  /** Whether something between two positions, the second left out, is addressed to an address. */
  hasBetween(address: Address, from: number, until: number): boolean {
    const positions = this.#positions.get(address);
    if (positions === undefined) return false;
    const next = positions.at(positions.search(position => position < from));
    return next !== undefined && next < until;
  }

  #search(moment: Moment): number {
    if (compareMoments(moment, this.#newest) === 0) return Math.max(this.first, this.end - 1);
    return this.#slots.search(slot => compareMoments(slot.entry, moment) < 0);
  }

  #dropFirst(slot: Slot): void {
    this.#slots.shift();
    this.#bytes -= slot.bytes;
    this.#floor = slot.entry;
    for (const address of slot.entry.notification.addresses) {
      const positions = this.#positions.get(address);
      positions?.shift();
      if (positions?.size === 0) this.#positions.delete(address);
    }
  }
}
