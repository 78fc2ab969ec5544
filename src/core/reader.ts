import { type Address, roomOf } from '../model/address.js';
import type { CloseReason } from '../model/close.js';
import type { Fifo } from '../model/fifo.js';
import { Heap } from '../model/heap.js';
import type { Entry } from '../model/notification.js';
import { Turns } from '../model/turns.js';
import type { Connection, Reading, Replay } from './connection.js';
import type { Counters } from './counters.js';
import type { Frames } from './frames.js';
import type { Coalescer } from './coalescer.js';
import type { Window } from './window.js';

// A reader gets so many bytes at a time: enough for a good pace, few enough that thousands can take turns.
const CHUNK_BYTES = 64 * 1024;
// A reader looks at so many entries before the others get their turn: about a millisecond.
const MAX_STEPS = 1024;

/** Entries that may still be looked at in this turn. */
interface Steps {
  left: number;
}

/** How far an address was read. */
interface Head {
  readonly address: Address;
  positions: Fifo<number>;
  /** The index of the next position in `positions`. */
  at: number;
  next: number;
  /** Entries before this position are history: they are not sent if their ttl is over. */
  readonly historyUntil: number;
}

/**
 * Serves the connections that are not live: they came with `since`, asked for a room's past, or did not keep up. Each
 * is served from its own cursor in the window, at the pace of its socket. When one reaches the newest entry, it becomes
 * live. That step is synchronous, so nothing comes between. Readers take turns. A reader costs only as much as it is
 * sent: its addresses are merged, not searched for each entry.
 */
export class Reader {
  readonly #window: Window;
  readonly #coalescer: Coalescer;
  readonly #frames: Frames;
  readonly #counters: Counters;
  readonly #maxBufferedBytes: number;
  readonly #close: (connection: Connection, reason: CloseReason) => void;
  readonly #queue: Turns<Connection>;

  constructor(parts: {
    window: Window;
    coalescer: Coalescer;
    frames: Frames;
    counters: Counters;
    maxBufferedBytes: number;
    /** Called with an error of ours in serving a connection. */
    failed: (connection: Connection, error: unknown) => void;
    close: (connection: Connection, reason: CloseReason) => void;
  }) {
    this.#window = parts.window;
    this.#coalescer = parts.coalescer;
    this.#frames = parts.frames;
    this.#counters = parts.counters;
    this.#maxBufferedBytes = parts.maxBufferedBytes;
    this.#close = parts.close;
    this.#queue = new Turns(connection => {
      try {
        this.#serve(connection);
      } catch (error) {
        parts.failed(connection, error);
      }
    });
  }

  /** The position up to which a connection was served. */
  position(connection: Connection): number {
    return connection.reading?.cursor ?? this.#window.end;
  }

  /** Everything before this position was sent to a connection, including pasts that it asked for. */
  settled(connection: Connection): number {
    const replays = connection.reading?.replays ?? [];
    return replays.reduce((least, { next }) => Math.min(least, next), this.position(connection));
  }

  /** Starts a connection at a past position instead of live. All its addresses are read from there. */
  startAt(connection: Connection, position: number): void {
    const past = new Map<Address, number>();
    for (const address of connection.joined.keys()) past.set(address, this.#window.end);
    connection.reading = { cursor: position, past, replays: [], isQueued: false };
    connection.reading.cursor = this.#heads(connection, connection.reading).first?.next ?? this.#window.end;
    this.#coalescer.awaitTaken(connection);
  }

  /** Call this when a live connection does not keep up: from this position on it is served at its own pace. */
  fallBehind(connection: Connection, position: number): void {
    this.#counters.fellBehind++;
    this.#read(connection, position);
  }

  /**
   * Sends the past of a joined room, from a position up to where its listening begins.
   * @param listenedFrom where its listening began before this request: later entries were live to the connection
   */
  replay(connection: Connection, address: Address, from: number, listenedFrom: number): void {
    const reading = this.#read(connection, this.#window.end);
    reading.past.set(address, Math.max(reading.past.get(address) ?? 0, listenedFrom));
    const until = Math.min(reading.cursor, connection.joined.get(address) ?? reading.cursor);
    if (from < until) reading.replays.push({ address, from, until, next: from });
  }

  /** Drops the rest of a room's past that was requested. Returns the replay, which knows how much was sent. */
  cancelReplay(connection: Connection, address: Address): Replay | undefined {
    const replays = connection.reading?.replays ?? [];
    const index = replays.findIndex(replay => replay.address === address);
    return index < 0 ? undefined : replays.splice(index, 1)[0];
  }

  /** Serves a connection when its turn comes. Called when the socket has taken everything. */
  pump(connection: Connection): void {
    const { reading } = connection;
    if (reading === undefined || reading.isQueued) return;
    reading.isQueued = true;
    this.#queue.push(connection);
  }

  #serve(connection: Connection): void {
    const { reading } = connection;
    if (reading === undefined || connection.closed) return;
    reading.isQueued = false;
    const steps = { left: MAX_STEPS };
    if (this.#sendReplays(connection, reading, steps) && this.#sendNext(connection, reading, steps)) {
      connection.reading = undefined;
      return;
    }
    if (connection.closed) return;
    if (steps.left === 0) this.pump(connection);
    else this.#coalescer.awaitTaken(connection);
  }

  #read(connection: Connection, position: number): Reading {
    connection.reading ??= { cursor: position, past: new Map(), replays: [], isQueued: false };
    this.#coalescer.awaitTaken(connection);
    return connection.reading;
  }

  /** Returns whether all requested pasts have been sent. */
  #sendReplays(connection: Connection, reading: Reading, steps: Steps): boolean {
    for (let replay = reading.replays[0]; replay !== undefined; replay = reading.replays[0]) {
      if (replay.next < this.#window.first) return this.#fellOut(connection);
      if (!this.#sendReplay(connection, replay, steps)) return false;
      reading.replays.shift();
      connection.joined.set(replay.address, replay.from);
    }
    return true;
  }

  /** Returns whether the replay has reached its end. */
  #sendReplay(connection: Connection, replay: Replay, steps: Steps): boolean {
    const { address, until } = replay;
    const positions = this.#window.replayableOf(address);
    let at = positions?.search(position => position < replay.next) ?? 0;
    let over = 0;
    try {
      for (;;) {
        const position = Math.min(positions?.at(at++) ?? until, until);
        replay.next = position;
        if (position === until) return true;
        if (steps.left === 0) return false;
        steps.left--;
        const entry = this.#entryAt(position);
        if (this.#window.isOver(entry) || this.#window.isCollapsed(position)) over++;
        else if (!isSeen(connection, entry, position) && !this.#offer(connection, entry, address))
          return false;
      }
    } finally {
      this.#window.passOver(address, over);
    }
  }

  /** Sends from the cursor on. Returns whether the connection has reached the newest entry. */
  #sendNext(connection: Connection, reading: Reading, steps: Steps): boolean {
    if (reading.cursor < this.#window.first) return this.#fellOut(connection);
    const heads = this.#heads(connection, reading);
    const over = new Map<Address, number>();
    try {
      for (;;) {
        const next = heads.first?.next ?? this.#window.end;
        // The cursor skips entries for others, so a slow reader of a quiet room does not fall out of the past.
        reading.cursor = next;
        if (next === this.#window.end) return true;
        if (steps.left === 0) return false;
        steps.left--;
        const entry = this.#entryAt(next);
        const address = this.#takeNext(heads, entry, over);
        if (address !== undefined && !this.#offer(connection, entry, address)) return false;
      }
    } finally {
      let mayRenew = true;
      for (const [address, count] of over) {
        const isRenewed = this.#window.passOver(address, count, mayRenew);
        // One new list is enough for one turn.
        mayRenew &&= !isRenewed;
      }
    }
  }

  /** Moves all heads at an entry past it. Returns the first of its addresses through which it is sent, if any. */
  #takeNext(heads: Heap<Head>, entry: Entry, over: Map<Address, number>): Address | undefined {
    const next = heads.first?.next;
    const isOver = this.#window.isOver(entry);
    const isCollapsed = next !== undefined && this.#window.isCollapsed(next);
    const bringing: Address[] = [];
    for (let head = heads.first; head !== undefined && head.next === next; head = heads.first) {
      heads.pop();
      const { address } = head;
      if (isCollapsed || (isOver && head.next < head.historyUntil))
        over.set(address, (over.get(address) ?? 0) + 1);
      else bringing.push(address);
      head.at++;
      if (this.#settle(head)) heads.push(head);
    }
    if (bringing.length <= 1) return bringing[0];
    return entry.notification.addresses.find(address => bringing.includes(address));
  }

  /** The heads of the joined addresses, the lowest position first. */
  #heads(connection: Connection, { cursor, past }: Reading): Heap<Head> {
    const heads = new Heap<Head>((a, b) => a.next < b.next);
    for (const [address, from] of connection.joined) {
      const start = Math.max(cursor, from);
      const historyUntil = past.get(address) ?? 0;
      const positions =
        start < historyUntil ? this.#window.replayableOf(address) : this.#window.positionsOf(address);
      if (positions === undefined) continue;
      const at = positions.search(position => position < start);
      const head = { address, positions, at, next: start, historyUntil };
      if (this.#settle(head)) heads.push(head);
    }
    return heads;
  }

  /** Sets the head's next position. Returns whether there is one. */
  #settle(head: Head): boolean {
    let next = head.positions.at(head.at);
    const isHistory = head.next < head.historyUntil;
    const all = this.#window.positionsOf(head.address);
    if (isHistory && all !== undefined && (next === undefined || next >= head.historyUntil)) {
      // After the history, all entries are sent.
      head.positions = all;
      head.at = all.search(position => position < head.historyUntil);
      next = all.at(head.at);
    }
    if (next === undefined) return false;
    head.next = next;
    return true;
  }

  /** Sends an entry if it is for this connection. Returns false if there is no room for it. */
  #offer(connection: Connection, entry: Entry, address: Address): boolean {
    if (entry.notification.except.includes(connection.id)) return true;
    const frame = this.#frames.of(entry, roomOf(address), connection.wire);
    const waiting = this.#coalescer.waiting(connection);
    if (waiting > 0 && waiting + frame.length > Math.min(CHUNK_BYTES, this.#maxBufferedBytes)) return false;
    this.#coalescer.send(connection, frame);
    this.#counters.deliveredFrames++;
    return true;
  }

  #fellOut(connection: Connection): false {
    this.#close(connection, 'fell_behind');
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
      connection.seen?.has(address, position) === true,
  );
}
