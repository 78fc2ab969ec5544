import { type Address, roomOf } from '../model/address.js';
import { CLOSE, type CloseReason } from '../model/close.js';
import type { Fifo } from '../model/fifo.js';
import type { Entry } from '../model/notification.js';
import type { Connection, Reading, Replay } from './connection.js';
import type { Frames } from './frames.js';
import type { Outbox } from './outbox.js';
import type { Window } from './window.js';

// Bytes that a reader is given at a time: enough for a good pace, little enough that thousands take turns.
const CHUNK_BYTES = 64 * 1024;
// Entries looked at for one reader before the others get their turn.
const MAX_STEPS = 4096;

/** How far an address was read: the index of its next position among its positions. */
interface Head {
  readonly positions: Fifo<number>;
  at: number;
}

/**
 * Serves the connections that are not live, each from its own cursor in the window and at the pace of its
 * socket: those that came with `since`, those that asked for a room's past, those that did not keep up. In
 * the turn in which one reaches the newest entry it is live. That step is synchronous, so nothing comes between.
 */
export class Reader {
  readonly #window: Window;
  readonly #outbox: Outbox;
  readonly #frames: Frames;
  readonly #maxBufferedBytes: number;
  readonly #now: () => number;
  readonly #close: (connection: Connection, reason: CloseReason) => void;

  constructor(parts: {
    window: Window;
    outbox: Outbox;
    frames: Frames;
    maxBufferedBytes: number;
    now: () => number;
    close: (connection: Connection, reason: CloseReason) => void;
  }) {
    this.#window = parts.window;
    this.#outbox = parts.outbox;
    this.#frames = parts.frames;
    this.#maxBufferedBytes = parts.maxBufferedBytes;
    this.#now = parts.now;
    this.#close = parts.close;
  }

  /** The position up to which a connection was served. */
  position(connection: Connection): number {
    return connection.reading?.cursor ?? this.#window.end;
  }

  /** The position before which nothing is owed to a connection any more, past that was asked for included. */
  settled(connection: Connection): number {
    const replays = connection.reading?.replays ?? [];
    return replays.reduce((least, { next }) => Math.min(least, next), this.position(connection));
  }

  /** Starts a connection at a position of the past instead of live. All that it has joined is read from there. */
  startAt(connection: Connection, position: number): void {
    const past = new Map<Address, number>();
    for (const address of connection.joined.keys()) past.set(address, this.#window.end);
    const cursor = this.#nextFor(this.#heads(connection, position));
    connection.reading = { cursor, past, replays: [] };
    this.#outbox.awaitTaken(connection);
  }

  /** Whether a live connection can take one more frame. The rule for slow ones: this, then `fallBehind`. */
  keepsUp(connection: Connection, frame: Buffer): boolean {
    const waiting = this.#outbox.waiting(connection);
    return waiting + frame.length <= this.#maxBufferedBytes || waiting === 0;
  }

  /** A live connection did not keep up: from this position on it is served at its own pace. */
  fallBehind(connection: Connection, position: number): void {
    this.#read(connection, position);
  }

  /**
   * Brings the past of a room that is joined, from a position up to where its listening begins.
   * @param listenedFrom where it began before this was asked for: what came since was live to the connection
   */
  replay(connection: Connection, address: Address, from: number, listenedFrom: number): void {
    const reading = this.#read(connection, this.#window.end);
    reading.past.set(address, Math.max(reading.past.get(address) ?? 0, listenedFrom));
    const until = Math.min(reading.cursor, connection.joined.get(address) ?? reading.cursor);
    if (from < until) reading.replays.push({ address, from, until, next: from });
  }

  /** Forgets the past of a room that was asked for and not sent yet; returns what of it was sent. */
  cancelReplay(connection: Connection, address: Address): Replay | undefined {
    const replays = connection.reading?.replays ?? [];
    const index = replays.findIndex(replay => replay.address === address);
    return index < 0 ? undefined : replays.splice(index, 1)[0];
  }

  /** Sends what there is room for; called when the socket has taken what it had. */
  pump(connection: Connection): void {
    const { reading } = connection;
    if (reading === undefined || connection.closed) return;
    if (this.#sendReplays(connection, reading) && this.#sendNext(connection, reading)) {
      connection.reading = undefined;
      return;
    }
    if (!connection.closed) this.#outbox.awaitTaken(connection);
  }

  #read(connection: Connection, position: number): Reading {
    connection.reading ??= { cursor: position, past: new Map(), replays: [] };
    this.#outbox.awaitTaken(connection);
    return connection.reading;
  }

  /** Returns whether all that was asked for has been sent. */
  #sendReplays(connection: Connection, reading: Reading): boolean {
    let steps = 0;
    for (let replay = reading.replays[0]; replay !== undefined; replay = reading.replays[0]) {
      const { address, next, until } = replay;
      if (next < this.#window.first) return this.#fellOut(connection);
      const positions = this.#window.positionsOf(address);
      let at = positions?.search(position => position < next) ?? 0;
      for (;;) {
        const position = Math.min(positions?.at(at++) ?? until, until);
        replay.next = position;
        if (position === until) break;
        if (++steps > MAX_STEPS) return false;
        const entry = this.#entryAt(position);
        if (isSeen(connection, entry, position) || this.#isOver(entry)) continue;
        if (!this.#offer(connection, entry, address)) return false;
      }
      reading.replays.shift();
      connection.joined.set(address, replay.from);
    }
    return true;
  }

  /** Sends from the cursor on. Returns whether the connection has reached the newest entry. */
  #sendNext(connection: Connection, reading: Reading): boolean {
    if (reading.cursor < this.#window.first) return this.#fellOut(connection);
    const heads = this.#heads(connection, reading.cursor);
    for (let steps = 0; ; steps++) {
      const next = this.#nextFor(heads);
      // Passing over what is for others keeps a slow reader of a quiet room from falling out of the past.
      reading.cursor = next;
      if (next === this.#window.end) return true;
      if (steps === MAX_STEPS) return false;
      for (const head of heads) if (head.positions.at(head.at) === next) head.at++;
      const entry = this.#entryAt(next);
      const address = this.#addressFor(connection, reading, entry, next);
      if (address !== undefined && !this.#offer(connection, entry, address)) return false;
      reading.cursor = next + 1;
    }
  }

  /** The next position that is addressed to one of the addresses; the window's end where there is none. */
  #nextFor(heads: readonly Head[]): number {
    return heads.reduce(
      (next, { positions, at }) => Math.min(next, positions.at(at) ?? next),
      this.#window.end,
    );
  }

  /** Where each joined address continues. */
  #heads(connection: Connection, cursor: number): Head[] {
    const heads: Head[] = [];
    for (const [address, from] of connection.joined) {
      const positions = this.#window.positionsOf(address);
      if (positions === undefined) continue;
      const start = Math.max(cursor, from);
      heads.push({ positions, at: positions.search(position => position < start) });
    }
    return heads;
  }

  /** The first of an entry's addresses that brings it to this connection, if one does. */
  #addressFor(connection: Connection, reading: Reading, entry: Entry, position: number): Address | undefined {
    const over = this.#isOver(entry);
    return entry.notification.addresses.find(address => {
      const from = connection.joined.get(address);
      if (from === undefined || position < from) return false;
      return !over || position >= (reading.past.get(address) ?? 0);
    });
  }

  /** Sends an entry if there is room for it; one that is not for this connection needs none. */
  #offer(connection: Connection, entry: Entry, address: Address): boolean {
    if (entry.notification.except.includes(connection.id)) return true;
    const frame = this.#frames.of(entry, roomOf(address), connection.encoder);
    const waiting = this.#outbox.waiting(connection);
    if (waiting > 0 && waiting + frame.length > Math.min(CHUNK_BYTES, this.#maxBufferedBytes)) return false;
    this.#outbox.send(connection, frame);
    return true;
  }

  #isOver(entry: Entry): boolean {
    const { ttl } = entry.notification;
    return ttl !== undefined && entry.time + ttl * 1000 <= this.#now();
  }

  #fellOut(connection: Connection): false {
    this.#close(connection, CLOSE.fellBehind);
    return false;
  }

  #entryAt(position: number): Entry {
    const entry = this.#window.entryAt(position);
    if (entry === undefined) throw new Error(`the window lists position ${position} but has no entry there`);
    return entry;
  }
}

/** Whether an entry of the past came to a connection before, through another address. */
function isSeen(connection: Connection, entry: Entry, position: number): boolean {
  return entry.notification.addresses.some(
    address =>
      position >= (connection.joined.get(address) ?? Number.POSITIVE_INFINITY) ||
      connection.seen?.get(address)?.some(seen => seen.from <= position && position < seen.until),
  );
}
