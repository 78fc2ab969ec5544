import { Turns } from '../model/turns.js';
import type { Connection } from './connection.js';
import type { Counters } from './counters.js';
import { FrameNode } from './frame-node.js';

/** What the coalescer tells. */
export interface CoalescerEvents {
  /** A reading connection has room again: the kernel took all that was written to it. */
  taken(connection: Connection): void;
  /** An error of ours in serving a connection. */
  failed(connection: Connection, error: unknown): void;
  /** The turn's writes are done. */
  atTurnEnd(): void;
}

/**
 * Write coalescing: the frames that a connection gets in one turn of the event loop leave in one write at its end.
 *
 * There are many notifications in a turn and many connections, each with its own mix, and the order is exact. A list for
 * each connection would cost notifications × connections entries, and as many copies of the same bytes. Instead the
 * turn builds a tree:
 *
 *     root ── A ── B ── C      connections 1, 2, 3 … get A B C: one pointer each, one joining
 *              └── C           connection 7 is not in B's room: A C
 *
 * The root has no frames; a node has the frames of its parent, then one more; each connection points at a node.
 * Appending moves the pointer to the child for that frame. The listeners of a room mostly share the turn's history, so
 * the child is nearly always the one made last: one comparison, no allocation. At the end of the turn a node that
 * connections point at joins its bytes once, and all of them get that buffer. If there are too many connections for
 * one turn, the rest are written in the turns after it.
 *
 * Control frames go the same way, so they keep their place among the notifications.
 */
export class Coalescer {
  #root = new FrameNode();
  /** Connections with frames that wait. */
  readonly #queue: Turns<Connection>;
  readonly #events: CoalescerEvents;
  readonly #counters: Counters;

  constructor(events: CoalescerEvents, counters: Counters) {
    this.#events = events;
    this.#counters = counters;
    this.#queue = new Turns(
      connection => this.#guard(connection, this.#flush),
      () => {
        // Connections that still wait have nodes of the old tree, and further frames go behind those.
        this.#root = new FrameNode();
        events.atTurnEnd();
      },
    );
  }

  /** Sends a connection one more frame. The same Buffer object for many connections is joined once. */
  send(connection: Connection, frame: Buffer): void {
    if (connection.pending === undefined) this.#queue.push(connection);
    connection.pending = (connection.pending ?? this.#root).plus(frame);
  }

  /** Asks for `taken` once the kernel took what was written to this connection, even if no frame waits for it. */
  awaitTaken(connection: Connection): void {
    if (connection.pending !== undefined) return;
    this.#queue.push(connection);
    connection.pending = this.#root;
  }

  /** Bytes that wait for a connection: for the end of the turn, or for the kernel to take them. */
  waiting(connection: Connection): number {
    return (connection.pending?.length ?? 0) + connection.socket.waiting;
  }

  /** Writes the frames of one connection now: before it is closed, say. */
  flush(connection: Connection): void {
    const { pending, reading } = connection;
    if (pending === undefined) return;
    connection.pending = undefined;
    if (connection.closed) return;
    this.#counters.writtenBytes += pending.length;
    if (reading === undefined) connection.socket.write(pending.bytes());
    else connection.socket.write(pending.bytes(), () => this.#guard(connection, this.#events.taken));
  }

  /** Makes sure that the turn has an end. */
  schedule(): void {
    this.#queue.schedule();
  }

  readonly #flush = (connection: Connection) => this.flush(connection);

  /** An error with one connection must not keep the others from being served. */
  #guard(connection: Connection, serve: (connection: Connection) => void): void {
    try {
      serve(connection);
    } catch (error) {
      this.#events.failed(connection, error);
    }
  }
}
