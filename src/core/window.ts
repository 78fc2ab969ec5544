import type { Address } from '../model/address.js';
import { weigh } from '../model/codec.js';
import { Fifo } from '../model/fifo.js';
import { compareMoments, formatId, type Id, type Moment, parseId } from '../model/id.js';
import type { Entry } from '../model/notification.js';
import type { Retention } from '../model/retention.js';

// What an address that has a past takes beside its entries: its list, and its place in the table.
const ADDRESS_BYTES = 256;

// Entries and addresses dropped in one turn of the event loop: some milliseconds.
const MAX_TRIMMED = 10_000;

interface Slot {
  readonly entry: Entry;
  readonly bytes: number;
}

/** What is addressed to one address: positions, in order. */
interface Past {
  readonly all: Fifo<number>;
  /** Without those whose ttl is over, as far as that is known; undefined where no entry has a ttl. */
  replayable: Fifo<number> | undefined;
  /** How often a reader found one in `replayable` whose ttl is over, since they were last taken out. */
  passedOver: number;
}

/**
 * The recent past of the journal in memory, every entry at a position for life. Beside the entries in order
 * it keeps the positions of each address, so that a reader touches only what is addressed to it. Entries whose ttl is
 * over are kept apart from those that may be replayed, so that they are passed over once, not by every reader.
 */
export class Window {
  readonly #retention: Retention;
  readonly #now: () => number;
  readonly #slots = new Fifo<Slot>();
  readonly #pasts = new Map<Address, Past>();
  #bytes = 0;
  /** What came before it, or at it, is gone. */
  #floor: Moment = { time: 0, sequence: 0 };
  #newest: Moment = { time: 0, sequence: 0 };

  /** @param now the journal's clock, in milliseconds since the epoch */
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
    return this.#bytes + this.#pasts.size * ADDRESS_BYTES;
  }

  /** Addresses that have a past. */
  get addresses(): number {
    return this.#pasts.size;
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
    const isReplayable = !this.isOver(entry);
    for (const address of entry.notification.addresses) {
      const past = this.#pastOf(address);
      // Until the first that has a ttl, one list serves for both.
      if (entry.notification.ttl !== undefined) past.replayable ??= past.all.copy();
      past.all.push(position);
      if (isReplayable) past.replayable?.push(position);
    }
    return position;
  }

  /**
   * Drops what is older than the retention, and the oldest of what does not fit it, as many as one turn of the event
   * loop has time for. Returns whether that was all.
   */
  trim(): boolean {
    const oldest = this.#now() - this.#retention.seconds * 1000;
    for (let dropped = 0; dropped < MAX_TRIMMED; ) {
      const slot = this.#slots.at(this.#slots.first);
      if (slot === undefined) return true;
      if (slot.entry.time >= oldest && this.bytes <= this.#retention.bytes) return true;
      this.#dropFirst(slot);
      dropped += 1 + slot.entry.notification.addresses.length;
    }
    return false;
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
    return this.#pasts.get(address)?.all;
  }

  /** The same, without most entries whose ttl is over. `passOver` replaces this list: do not keep it. */
  replayableOf(address: Address): Fifo<number> | undefined {
    const past = this.#pasts.get(address);
    return past?.replayable ?? past?.all;
  }

  /** Whether the time has passed in which an entry may be replayed. */
  isOver({ time, notification: { ttl } }: Entry): boolean {
    return ttl !== undefined && time + ttl * 1000 <= this.#now();
  }

  /**
   * A reader has met so many of `replayableOf` whose ttl is over: they are taken out for all. Those in front go at once,
   * those in between when they are many: then the list is made anew. Returns whether it was.
   * @param mayRenew whether there is time for that now
   */
  passOver(address: Address, count: number, mayRenew = true): boolean {
    const past = this.#pasts.get(address);
    if (past?.replayable === undefined) return false;
    past.passedOver += count;
    for (let left = count; left > 0; left--) {
      const first = past.replayable.at(past.replayable.first);
      if (first === undefined || !this.#isOverAt(first)) break;
      past.replayable.shift();
      past.passedOver--;
    }
    if (!mayRenew || 2 * past.passedOver < past.replayable.size) return false;
    past.passedOver = 0;
    past.replayable = past.replayable.copy(position => !this.#isOverAt(position));
    return true;
  }

  #isOverAt(position: number): boolean {
    const entry = this.entryAt(position);
    return entry === undefined || this.isOver(entry);
  }

  /** Whether something between two positions, the second left out, is addressed to an address. */
  hasBetween(address: Address, from: number, until: number): boolean {
    const positions = this.positionsOf(address);
    if (positions === undefined) return false;
    const next = positions.at(positions.search(position => position < from));
    return next !== undefined && next < until;
  }

  #pastOf(address: Address): Past {
    let past = this.#pasts.get(address);
    if (past === undefined) {
      past = { all: new Fifo(), replayable: undefined, passedOver: 0 };
      this.#pasts.set(address, past);
    }
    return past;
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
      const past = this.#pasts.get(address);
      if (past === undefined) continue;
      const position = past.all.shift();
      if (past.replayable?.at(past.replayable.first) === position) past.replayable?.shift();
      if (past.all.size === 0) this.#pasts.delete(address);
    }
  }
}
