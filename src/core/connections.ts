import type { CloseReason, EndReason } from '../model/close.js';
import type { Clock } from '../model/clock.js';
import { Coalescer } from './coalescer.js';
import { Connection, type Peer, type Socket, type StartPoint, type Wire } from './connection.js';
import type { Counters } from './counters.js';
import { Frames } from './frames.js';
import { Hub } from './hub.js';
import type { Observer } from './observer.js';
import type { Presence } from './presence/presence.js';
import { Reader } from './reader.js';
import { Subscriptions } from './subscriptions.js';
import type { Window } from './window.js';

/** A new connection, and from when on it gets notifications. */
export interface Connected {
  readonly connection: Connection;
  readonly start: StartPoint;
}

/** What a client wants when it connects. */
export interface ConnectOptions {
  user: string | undefined;
  info?: string | undefined;
  peer: Peer;
  rooms: readonly string[];
  since?: string | undefined;
}

/** What serving connections needs. */
export interface ConnectionsParts {
  readonly window: Window;
  readonly counters: Counters;
  /** Others may be added before the first connection. */
  readonly observers: readonly Observer[];
  readonly presence: () => Presence;
  readonly maxBufferedBytes: number;
  readonly clock: Clock;
  /** Called at the end of each turn in which something was to be sent. */
  readonly atTurnEnd: () => void;
  /** Called with an error of ours in serving one connection, which is then closed. */
  readonly failed: (error: unknown) => void;
}

/** The connections of this process: who is connected, to which rooms, and what is written to whom. */
export class Connections {
  readonly coalescer: Coalescer;
  readonly reader: Reader;
  readonly hub: Hub;
  readonly #subscriptions: Subscriptions;
  readonly #presence: () => Presence;
  readonly #clock: Clock;

  constructor(parts: ConnectionsParts) {
    const { window, counters, observers, maxBufferedBytes, atTurnEnd } = parts;
    this.#presence = parts.presence;
    this.#clock = parts.clock;
    const frames = new Frames();
    const failed = (connection: Connection, error: unknown) => {
      parts.failed(error);
      this.close(connection, 'internal');
    };
    const taken = (connection: Connection) => {
      this.reader.pump(connection);
      this.#presence().taken(connection);
    };
    this.coalescer = new Coalescer({ taken, failed, atTurnEnd }, counters, maxBufferedBytes);
    this.reader = new Reader({
      window,
      coalescer: this.coalescer,
      frames,
      counters,
      maxBufferedBytes,
      failed,
      close: (connection, reason) => this.close(connection, reason),
    });
    this.hub = new Hub(this.coalescer, this.reader, frames, counters);
    this.#subscriptions = new Subscriptions({
      window,
      reader: this.reader,
      hub: this.hub,
      observers,
      fellBehind: connection => this.close(connection, 'fell_behind'),
    });
  }

  /** Adds a connection and its first rooms. */
  connect(socket: Socket, wire: Wire, options: ConnectOptions): Connected {
    const { user, info, peer, rooms, since } = options;
    const connection = new Connection(socket, wire, { user, info, peer, openedAt: this.#clock.now() });
    return { connection, start: this.#subscriptions.open(connection, rooms, since) };
  }

  /** Joins a room from now on, or from a cursor on. */
  subscribe(connection: Connection, room: string, since?: string): StartPoint {
    return this.#subscriptions.join(connection, room, since);
  }

  /** Leaves a room. */
  unsubscribe(connection: Connection, room: string): void {
    this.#subscriptions.leave(connection, room);
  }

  /** Sets the user's `info`, and the user of a connection that has none. */
  identify(connection: Connection, user: string, info?: string): void {
    this.#subscriptions.identify(connection, user, info);
  }

  /** Puts a connection into a room, whatever its token says. */
  assign(connection: Connection, room: string): void {
    const wasIn = this.isIn(connection, room);
    const start = this.subscribe(connection, room);
    // It may have been closed meanwhile.
    if (!this.isIn(connection, room)) return;
    connection.assigned ??= new Set();
    connection.assigned.add(room);
    if (wasIn) return;
    const members = this.#presence().listFor(connection, room);
    this.send(connection, connection.wire.subscribed(room, start, members));
  }

  /** Takes a connection out of a room. Returns whether it was there. */
  unassign(connection: Connection, room: string): boolean {
    if (!this.isIn(connection, room)) return false;
    this.unsubscribe(connection, room);
    this.send(connection, connection.wire.unsubscribed(room));
    return true;
  }

  /** Whether a connection is in a room. */
  isIn(connection: Connection, room: string): boolean {
    return this.#subscriptions.has(connection, room);
  }

  /** Sends a frame to one connection, in order with its notifications. */
  send(connection: Connection, frame: Buffer): void {
    if (!connection.closed) this.coalescer.send(connection, frame);
  }

  /** Closes a connection with a reason, after the frames that wait for it. Idempotent. */
  close(connection: Connection, reason: CloseReason): void {
    if (connection.closed) return;
    this.coalescer.flush(connection);
    this.disconnect(connection, reason);
    connection.socket.close(reason);
  }

  /** Forgets a connection whose socket is gone or closing. Idempotent. */
  disconnect(connection: Connection, reason: EndReason): void {
    if (connection.closed) return;
    connection.closed = true;
    connection.reading = undefined;
    connection.pending = undefined;
    connection.seen = undefined;
    connection.untold = undefined;
    this.#subscriptions.end(connection, reason);
  }
}
