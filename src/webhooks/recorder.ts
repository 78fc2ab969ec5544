import type { Connection } from '../core/connection.js';
import type { Observer } from '../core/observer.js';
import type { EndReason } from '../model/close.js';
import type { EventType } from './event.js';
import type { OpenConnections } from './open-connections.js';
import type { EventQueue } from './queue.js';
import type { OpenConnection } from './open-connections.js';

/** Tells the queue what happens to the connections of this node. */
export class Recorder implements Observer {
  readonly #options: RecorderOptions;
  /** Address and protocol are not known any more when a connection has closed. */
  readonly #open = new Map<Connection, OpenConnection>();

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  opened(connection: Connection): void {
    const { wants, queue } = this.#options;
    const { id, user, peer, wire } = connection;
    const session = {
      connection: id,
      user: user ?? null,
      address: peer.address,
      protocol: wire.protocol,
    };
    // First the session: if the process dies, PHP does not hear of a connection without an end.
    if (wants('connection.closed')) this.#keep(connection, session);
    if (wants('connection.opened')) void queue.add({ type: 'connection.opened', ...session });
  }

  closed(connection: Connection, reason: EndReason): void {
    const session = this.#open.get(connection);
    if (session === undefined) return;
    const { queue, connections, now } = this.#options;
    this.#open.delete(connection);
    const seconds = Math.round((now() - connection.openedAt) / 1000);
    void queue
      .add({ type: 'connection.closed', ...session, reason, seconds })
      .then(isStored => (isStored ? connections.remove(connection.id) : connections.leave(connection.id)));
  }

  joined({ id, user }: Connection, room: string): void {
    const { wants, queue } = this.#options;
    if (wants('room.joined', room))
      void queue.add({ type: 'room.joined', room, connection: id, user: user ?? null });
  }

  left({ id, user }: Connection, room: string): void {
    const { wants, queue } = this.#options;
    if (wants('room.left', room))
      void queue.add({ type: 'room.left', room, connection: id, user: user ?? null });
  }

  identified(connection: Connection): void {
    const session = this.#open.get(connection);
    const user = connection.user ?? null;
    if (session !== undefined && session.user !== user) this.#keep(connection, { ...session, user });
  }

  #keep(connection: Connection, session: OpenConnection): void {
    this.#open.set(connection, session);
    this.#options.connections.put(session);
  }
}

interface RecorderOptions {
  readonly queue: EventQueue;
  readonly connections: OpenConnections;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Whether the backend wants events of this type, in this room. */
  readonly wants: (type: EventType, room?: string) => boolean;
}
