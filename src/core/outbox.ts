import { Turns } from '../model/turns.js';
import type { Connection } from './connection.js';
import { Owed } from './owed.js';

/** Whom the outbox tells. */
export interface OutboxEvents {
  /** A connection that is not live has room again: the kernel took all that was written to it. */
  taken(connection: Connection): void;
  /** An error of ours in serving a connection. */
  failed(connection: Connection, error: unknown): void;
  /** The turn's writes are done. */
  atTurnEnd(): void;
}

/**
 * What one turn of the event loop owes every connection, written at its end, one write each.
 *
 * Many notifications in a turn, many connections, every connection its own mix, order exact. A list per
 * connection would cost notifications × connections entries, and as many copies of the same bytes. Instead
 * the turn builds a tree:
 *
 *     root ── A ── B ── C      connection 1, 2, 3 … are owed A B C: one pointer each, one joining
 *              └── C           connection 7 was not in B's room: A C
 *
 * Its root is "nothing owed"; a node is "what its parent owes, then this frame"; each connection points at a
 * node. Appending moves the pointer to the child for that frame. The listeners of a room mostly share the
 * turn's history, so the child is nearly always the one made last: one comparison, no allocation. At the end
 * of the turn a node that somebody points at joins its bytes once, and all who point at it get that buffer.
 * Where there are too many connections for one turn, the rest are written in the turns after it.
 *
 * Control frames go the same way, so they keep their place among the notifications.
 */
export class Outbox {
  #root = new Owed();
  readonly #owing: Turns<Connection>;
  readonly #events: OutboxEvents;

  constructor(events: OutboxEvents) {
    this.#events = events;
    this.#owing = new Turns(
      connection => this.#guard(connection, this.#flush),
      () => {
        // Those who still wait have nodes of the old tree: what they are owed meanwhile is put behind those.
        this.#root = new Owed();
        events.atTurnEnd();
      },
    );
  }

  /** Owes a connection one more frame. The same Buffer object for many connections is joined once. */
  send(connection: Connection, frame: Buffer): void {
    if (connection.owed === undefined) this.#owing.push(connection);
    connection.owed = (connection.owed ?? this.#root).plus(frame);
  }

  /** Asks for `taken` once the kernel took what this connection was written, even if it is owed nothing. */
  awaitTaken(connection: Connection): void {
    if (connection.owed !== undefined) return;
    this.#owing.push(connection);
    connection.owed = this.#root;
  }

  /** Bytes that wait for a connection: owed in this turn, or written and not yet taken by the kernel. */
  waiting(connection: Connection): number {
    return (connection.owed?.length ?? 0) + connection.socket.waiting;
  }

  /** Writes now what one connection is owed: before it is closed, say. */
  flush(connection: Connection): void {
    const { owed, reading } = connection;
    if (owed === undefined) return;
    connection.owed = undefined;
    if (connection.closed) return;
    if (reading === undefined) connection.socket.write(owed.bytes());
    else connection.socket.write(owed.bytes(), () => this.#guard(connection, this.#events.taken));
  }

  /** Makes sure that the turn has an end. */
  schedule(): void {
    this.#owing.schedule();
  }

  readonly #flush = (connection: Connection) => this.flush(connection);

  /** What goes wrong with one connection must not keep the others from their turn. */
  #guard(connection: Connection, serve: (connection: Connection) => void): void {
    try {
      serve(connection);
    } catch (error) {
      this.#events.failed(connection, error);
    }
  }
}
