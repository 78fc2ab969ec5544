import { type Address, roomAddress, userAddress } from '../model/address.js';
import type { EndReason } from '../model/close.js';
import type { Connection, Replay, StartPoint } from './connection.js';
import type { Hub } from './hub.js';
import type { Observer } from './observer.js';
import type { Reader } from './reader.js';
import { Seen } from './seen-ranges.js';
import type { Window } from './window.js';

/**
 * Joins and leaves: from which position a connection gets an address, and what it saw before it left an address. Tells
 * the observers.
 */
export class Subscriptions {
  readonly #window: Window;
  readonly #reader: Reader;
  readonly #hub: Hub;
  readonly #observers: readonly Observer[];
  readonly #fellBehind: (connection: Connection) => void;

  /** @param parts.fellBehind closes a connection if it is no longer known what it has seen */
  constructor(parts: {
    window: Window;
    reader: Reader;
    hub: Hub;
    /** Others may be added before the first connection. */
    observers: readonly Observer[];
    fellBehind: (connection: Connection) => void;
  }) {
    this.#window = parts.window;
    this.#reader = parts.reader;
    this.#hub = parts.hub;
    this.#observers = parts.observers;
    this.#fellBehind = parts.fellBehind;
  }

  /** Begins to serve a new connection: from a cursor on, if the past reaches back to it; else from now on. */
  open(connection: Connection, rooms: readonly string[], since: string | undefined): StartPoint {
    const past = since === undefined ? undefined : this.#window.after(since);
    const from = past ?? this.#window.end;
    for (const address of connection.ownAddresses()) connection.joined.set(address, from);
    this.#hub.add(connection);
    for (const room of rooms) this.#join(connection, roomAddress(room), from);
    if (past !== undefined) {
      connection.isResumed = true;
      this.#reader.startAt(connection, past);
    }
    this.#notify(observer => observer.opened?.(connection));
    for (const room of rooms) this.#notify(observer => observer.joined?.(connection, room));
    const recovered = since === undefined ? undefined : past !== undefined;
    return { id: this.#window.cursorAt(from), recovered };
  }

  /** Joins a room from now on. With a cursor, the room's past after it comes first, except what was sent already. */
  join(connection: Connection, room: string, since: string | undefined): StartPoint {
    const address = roomAddress(room);
    const wasIn = connection.joined.has(address);
    const here = this.#reader.position(connection);
    const past = this.#hub.has(connection) ? this.#pastOf(connection, since) : undefined;
    const listenedFrom = connection.joined.get(address) ?? this.#window.end;
    const from = past === undefined ? listenedFrom : Math.min(listenedFrom, Math.max(past, here));
    this.#join(connection, address, from);
    if (past !== undefined) this.#bringPast(connection, address, past, listenedFrom);
    if (!wasIn && connection.joined.has(address))
      this.#notify(observer => observer.joined?.(connection, room));
    const recovered = since === undefined ? undefined : past !== undefined;
    return { id: this.#window.cursorAt(this.#reader.settled(connection)), recovered };
  }

  /** Leaves a room, if it was joined. */
  leave(connection: Connection, room: string): void {
    const address = roomAddress(room);
    const from = connection.joined.get(address);
    connection.assigned?.delete(room);
    if (from === undefined) return;
    this.#notify(observer => observer.left?.(connection, room));
    const replay = this.#reader.cancelReplay(connection, address);
    connection.joined.delete(address);
    connection.reading?.past.delete(address);
    this.#hub.leave(connection, address);
    if (replay !== undefined) this.#rememberSeen(connection, address, replay.from, replay.next);
    this.#rememberSeen(connection, address, from, this.#reader.position(connection));
  }

  /** Sets the user's `info`, and the user of a connection that has none: it gets the user's entries from now on. */
  identify(connection: Connection, user: string, info: string | undefined): void {
    const before = connection.user;
    if (connection.closed || (before !== undefined && connection.info === info)) return;
    connection.info = info;
    connection.user ??= user;
    if (before === undefined) this.#join(connection, userAddress(user), this.#window.end);
    this.#notify(observer => observer.identified?.(connection, before));
  }

  /** Ends a connection: it leaves all its rooms. */
  end(connection: Connection, reason: EndReason): void {
    const { rooms } = connection;
    this.#hub.remove(connection);
    connection.joined.clear();
    for (const room of rooms) this.#notify(observer => observer.left?.(connection, room));
    this.#notify(observer => observer.closed?.(connection, reason));
  }

  has(connection: Connection, room: string): boolean {
    return connection.joined.has(roomAddress(room));
  }

  #notify(call: (observer: Observer) => unknown): void {
    for (const observer of this.#observers) call(observer);
  }

  #join(connection: Connection, address: Address, from: number): void {
    // The connection missed something and is about to be closed.
    if (!this.#hub.has(connection)) return;
    connection.joined.set(address, from);
    this.#hub.join(connection, address);
  }

  /** Where the past after a cursor begins; undefined if it is incomplete, or unknown how much of it was seen. */
  #pastOf(connection: Connection, since: string | undefined): number | undefined {
    const past = since === undefined ? undefined : this.#window.after(since);
    return past !== undefined && past < (connection.seen?.forgotten ?? 0) ? undefined : past;
  }

  /** Sends a room's past, and the rest of an earlier requested past of this room. */
  #bringPast(connection: Connection, address: Address, past: number, listenedFrom: number): void {
    const before: Replay | undefined = this.#reader.cancelReplay(connection, address);
    if (before !== undefined) this.#rememberSeen(connection, address, before.from, before.next);
    if (connection.closed) return;
    this.#reader.replay(connection, address, Math.min(past, before?.next ?? past), listenedFrom);
  }

  /** Remembers what was sent, because the past of another room may contain the same entries. */
  #rememberSeen(connection: Connection, address: Address, from: number, until: number): void {
    if (connection.closed || !this.#window.hasBetween(address, from, until)) return;
    connection.seen ??= new Seen();
    const isKnown = connection.seen.add(address, { from, until }, this.#window.first);
    // Otherwise entries of a past that is being sent could come twice.
    if (!isKnown && (connection.reading?.replays.length ?? 0) > 0) this.#fellBehind(connection);
  }
}
