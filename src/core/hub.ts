import { type Address, BROADCAST, connectionOf, roomOf, userAddress } from '../model/address.js';
import type { Entry } from '../model/notification.js';
import type { Connection, Wire } from './connection.js';
import type { Counters } from './counters.js';
import type { Frames } from './frames.js';
import type { Coalescer } from './coalescer.js';
import { NameIndex } from './name-index.js';
import type { Reader } from './reader.js';

/** Knows which connections of this process listen to which addresses, and delivers entries to them. */
export class Hub {
  readonly #coalescer: Coalescer;
  readonly #reader: Reader;
  readonly #frames: Frames;
  readonly #counters: Counters;
  readonly #connections = new Map<string, Connection>();
  readonly #listeners = new Map<Address, Set<Connection>>();
  /** The rooms and the connections in order, for lists. */
  readonly roomNames = new NameIndex(() => this.#allRooms());
  readonly connectionIds = new NameIndex(() => this.#connections.keys());
  #deliveries = 0;
  #rooms = 0;

  constructor(coalescer: Coalescer, reader: Reader, frames: Frames, counters: Counters) {
    this.#coalescer = coalescer;
    this.#reader = reader;
    this.#frames = frames;
    this.#counters = counters;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Rooms with at least one connection. */
  get rooms(): number {
    return this.#rooms;
  }

  /** Users with at least one connection. */
  get users(): number {
    return this.#listeners.size - this.#rooms;
  }

  add(connection: Connection): void {
    this.#connections.set(connection.id, connection);
    this.connectionIds.added(connection.id);
    if (connection.user !== undefined) this.join(connection, userAddress(connection.user));
  }

  remove(connection: Connection): void {
    this.#connections.delete(connection.id);
    this.connectionIds.removed(connection.id);
    for (const address of connection.joined.keys()) this.leave(connection, address);
  }

  has(connection: Connection): boolean {
    return this.#connections.has(connection.id);
  }

  /** Forgets all connections at once, and returns them. */
  takeAll(): Connection[] {
    const all = [...this.#connections.values()];
    this.#connections.clear();
    this.#listeners.clear();
    this.#rooms = 0;
    this.roomNames.cleared();
    this.connectionIds.cleared();
    return all;
  }

  /** Makes a connection a listener of a room or a user. */
  join(connection: Connection, address: Address): void {
    const listeners = this.#listeners.get(address);
    if (listeners !== undefined) {
      listeners.add(connection);
      return;
    }
    this.#listeners.set(address, new Set([connection]));
    const room = roomOf(address);
    if (room === undefined) return;
    this.#rooms++;
    this.roomNames.added(room);
  }

  leave(connection: Connection, address: Address): void {
    const listeners = this.#listeners.get(address);
    if (listeners === undefined || !listeners.delete(connection) || listeners.size > 0) return;
    this.#listeners.delete(address);
    const room = roomOf(address);
    if (room === undefined) return;
    this.#rooms--;
    this.roomNames.removed(room);
  }

  *#allRooms(): Iterable<string> {
    for (const address of this.#listeners.keys()) {
      const room = roomOf(address);
      if (room !== undefined) yield room;
    }
  }

  /** How many connections a room or a user has on this process. */
  count(address: Address): number {
    return this.#listeners.get(address)?.size ?? 0;
  }

  /** The connections that an address reaches on this process. */
  listeners(address: Address): Iterable<Connection> {
    if (address === BROADCAST) return this.#connections.values();
    const id = connectionOf(address);
    if (id !== undefined) {
      const connection = this.#connections.get(id);
      return connection === undefined ? [] : [connection];
    }
    return this.#listeners.get(address) ?? [];
  }

  /**
   * Delivers an entry once to each connection that it is addressed to, through the first of its addresses that reaches
   * the connection. Returns how many these are. Readers count too: they get the entry from the window.
   * @param note called with each of these connections
   */
  deliver(entry: Entry, position: number, note?: (connection: Connection) => void): number {
    const delivery = ++this.#deliveries;
    let reached = 0;
    let sent = 0;
    // They count as reached, so they are skipped.
    for (const id of entry.notification.except) {
      const connection = this.#connections.get(id);
      if (connection !== undefined) connection.lastDelivery = delivery;
    }
    for (const address of entry.notification.addresses) {
      const room = roomOf(address);
      let wire: Wire | undefined;
      let frame: Buffer | undefined;
      for (const connection of this.listeners(address)) {
        if (connection.lastDelivery === delivery) continue;
        connection.lastDelivery = delivery;
        reached++;
        note?.(connection);
        if (connection.reading !== undefined) continue;
        if (frame === undefined || connection.wire !== wire) {
          wire = connection.wire;
          frame = this.#frames.of(entry, room, wire);
        }
        if (this.#coalescer.hasRoom(connection, frame.length)) {
          this.#coalescer.send(connection, frame);
          sent++;
        } else this.#reader.fallBehind(connection, position);
      }
    }
    this.#counters.deliveredFrames += sent;
    return reached;
  }
}
