import { createHash } from 'node:crypto';
import type { Address } from '../model/address.js';
import { weigh } from '../model/notification-codec.js';
import { Fifo } from '../model/fifo.js';
import { compareMoments, formatId, type Id, type Moment, parseId } from '../model/id.js';
import type { Entry } from '../model/notification.js';
import type { Retention } from '../model/retention.js';

// Memory of an address with a past, without its entries: its list, and its row in the table.
const ADDRESS_BYTES = 256;

// Entries and addresses dropped in one turn of the event loop: some milliseconds.
const MAX_TRIMMED = 10_000;

interface Slot {
  readonly entry: Entry;
  bytes: number;
  /** Names the entries of which only the newest counts; undefined if it counts by itself. */
  readonly collapseKey: string | undefined;
  /** A newer entry has taken its place: it is sent to nobody any more. */
  isCollapsed: boolean;
  /** How many connections of this node it was addressed to when it came. */
  reached: number;
}

/** The positions of the entries for one address, in order. */
interface Past {
  readonly all: Fifo<number>;
  /** Without most entries that are over; undefined until an entry can be over. */
  replayable: Fifo<number> | undefined;
  /** How often readers found an entry in `replayable` that is over, since these were last removed. */
  passedOver: number;
}

/**
 * The recent past of the journal in memory. An entry keeps its position for life. The positions of each address are
 * listed, so that a reader touches only its own entries. Entries that are over (their ttl has passed, or a newer entry
 * has taken their place) leave the replayable ones, so that not every reader has to skip them.
 */
export class Window {
  readonly #retention: Retention;
  readonly #now: () => number;
  readonly #dropped: (entry: Entry) => void;
  readonly #slots = new Fifo<Slot>();
  readonly #pasts = new Map<Address, Past>();
  /** The position of the newest entry of each name for each set of addresses. */
  readonly #newestOf = new Map<string, number>();
  #bytes = 0;
  /** Entries at or before this moment are gone. */
  #floor: Moment = { time: 0, sequence: 0 };
  #newest: Moment = { time: 0, sequence: 0 };

  /**
   * @param now the journal's clock, in milliseconds since the epoch
   * @param dropped called with each entry that leaves
   */
  constructor(retention: Retention, now: () => number, dropped: (entry: Entry) => void = () => undefined) {
    this.#retention = retention;
    this.#now = now;
    this.#dropped = dropped;
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

  /** Bytes of the entries, of each address's positions and of each name to collapse. The retention limits them. */
  get bytes(): number {
    return this.#bytes + (this.#pasts.size + this.#newestOf.size) * ADDRESS_BYTES;
  }

  /** Addresses that have a past. */
  get addresses(): number {
    return this.#pasts.size;
  }

  /** Sets how far the past reaches back: it begins after this id. */
  beginAfter(id: Id): void {
    const moment = parseId(id);
    if (moment === undefined) throw new Error(`the journal's past begins after ${id}, which is no id`);
    if (compareMoments(moment, this.#floor) > 0) this.#floor = moment;
    if (compareMoments(moment, this.#newest) > 0) this.#newest = moment;
  }

  /** Adds the next entry of the journal, newer than all before. Returns its position. Only `trim` drops entries. */
  add(entry: Entry): number {
    const position = this.#slots.end;
    const bytes = weigh(entry.notification);
    const collapseKey = entry.notification.collapse === undefined ? undefined : collapseKeyOf(entry);
    this.#slots.push({ entry, bytes, collapseKey, isCollapsed: false, reached: 0 });
    this.#bytes += bytes;
    this.#newest = entry;
    const { addresses, ttl, collapse } = entry.notification;
    if (collapseKey !== undefined) this.#collapse(collapseKey, position);
    const isReplayable = !this.isOver(entry);
    for (const address of addresses) {
      const past = this.#pastOf(address);
      // One list is enough for both until the first entry that can be over.
      if (ttl !== undefined || collapse !== undefined) past.replayable ??= past.all.copy();
      past.all.push(position);
      if (isReplayable) past.replayable?.push(position);
    }
    return position;
  }

  /**
   * Drops the oldest entries that are too old or too many for the retention, as many as one turn of the event loop has
   * time for. Returns whether those were all.
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

  /** Forgets everything: entries at or before this id are gone. */
  forget(until: Id): void {
    for (
      let slot = this.#slots.at(this.#slots.first);
      slot !== undefined;
      slot = this.#slots.at(this.#slots.first)
    )
      this.#dropFirst(slot);
    this.beginAfter(until);
  }

  /** The position of an entry; undefined if it is gone, or never was. */
  positionOf(id: string): number | undefined {
    const moment = parseId(id);
    if (moment === undefined) return undefined;
    const position = this.#search(moment);
    return this.entryAt(position)?.id === id ? position : undefined;
  }

  /** How many connections of this node an entry was addressed to when it came. */
  reachedAt(position: number): number {
    return this.#slots.at(position)?.reached ?? 0;
  }

  /** Notes how many connections of this node an entry is addressed to. */
  setReached(position: number, connections: number): void {
    const slot = this.#slots.at(position);
    if (slot !== undefined) slot.reached = connections;
  }

  /** What is known of an entry takes so many more bytes. */
  weighMore(position: number, bytes: number): void {
    const slot = this.#slots.at(position);
    if (slot === undefined) return;
    slot.bytes += bytes;
    this.#bytes += bytes;
  }

  entryAt(position: number): Entry | undefined {
    return this.#slots.at(position)?.entry;
  }

  /** Whether a cursor comes from a node that is ahead of this one. */
  isAhead(cursor: string): boolean {
    const moment = parseId(cursor);
    return moment !== undefined && compareMoments(moment, this.#newest) > 0;
  }

  /** The position after a cursor; undefined if the past no longer reaches back to it, or if it was never given. */
  after(cursor: string): number | undefined {
    const moment = parseId(cursor);
    if (moment === undefined) return undefined;
    if (compareMoments(moment, this.#floor) < 0 || compareMoments(moment, this.#newest) > 0) return undefined;
    const position = this.#search(moment);
    const found = this.entryAt(position);
    return found !== undefined && compareMoments(found, moment) === 0 ? position + 1 : position;
  }

  /** The cursor of a client that has everything before a position. */
  cursorAt(position: number): Id {
    if (position >= this.end) return formatId(this.#newest);
    return this.entryAt(position - 1)?.id ?? formatId(this.#floor);
  }

  /** Positions of the entries for an address, in order; undefined if there are none. */
  positionsOf(address: Address): Fifo<number> | undefined {
    return this.#pasts.get(address)?.all;
  }

  /** The same, without most entries that are over. `passOver` replaces this list: do not keep it. */
  replayableOf(address: Address): Fifo<number> | undefined {
    const past = this.#pasts.get(address);
    return past?.replayable ?? past?.all;
  }

  /** Whether an entry's ttl is over, so it may not be replayed. */
  isOver({ time, notification: { ttl } }: Entry): boolean {
    return ttl !== undefined && time + ttl * 1000 <= this.#now();
  }

  /** Whether a newer entry has taken its place: then it is sent to nobody any more, also not to slow readers. */
  isCollapsed(position: number): boolean {
    return this.#slots.at(position)?.isCollapsed ?? false;
  }

  /**
   * Removes entries that are over from `replayableOf`, after a reader met `count` of them. Those in front go at
   * once. If there are many between, makes a new list, and returns true.
   * @param mayRenew whether there is time for a new list
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
    const slot = this.#slots.at(position);
    return slot === undefined || slot.isCollapsed || this.isOver(slot.entry);
  }

  /** Whether an address has an entry between two positions; the second position is not included. */
  hasBetween(address: Address, from: number, until: number): boolean {
    const positions = this.positionsOf(address);
    if (positions === undefined) return false;
    const next = positions.at(positions.search(position => position < from));
    return next !== undefined && next < until;
  }

  #collapse(key: string, position: number): void {
    const before = this.#slots.at(this.#newestOf.get(key) ?? -1);
    if (before !== undefined) before.isCollapsed = true;
    this.#newestOf.set(key, position);
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
    const { entry, collapseKey, isCollapsed } = slot;
    this.#slots.shift();
    this.#bytes -= slot.bytes;
    this.#floor = entry;
    this.#dropped(entry);
    if (collapseKey !== undefined && !isCollapsed) this.#newestOf.delete(collapseKey);
    for (const address of slot.entry.notification.addresses) {
      const past = this.#pasts.get(address);
      if (past === undefined) continue;
      const position = past.all.shift();
      if (past.replayable?.at(past.replayable.first) === position) past.replayable?.shift();
      if (past.all.size === 0) this.#pasts.delete(address);
    }
  }
}

/** A name to collapse, together with the addresses. Both may be long. */
function collapseKeyOf({ notification: { addresses, collapse } }: Entry): string {
  return createHash('sha256')
    .update(JSON.stringify([collapse, ...addresses.toSorted()]))
    .digest('base64url');
}
