import { Turns } from '../model/turns.js';
import type { Connection } from './connection.js';
import type { Counters } from './counters.js';
import { FrameNode } from './frame-node.js';

/** The coalescer calls these. */
export interface CoalescerEvents {
  /** A connection that waits for it has room again: the kernel has taken everything that was written to it. */
  taken(connection: Connection): void;
  /** An error of this server in serving a connection. */
  failed(connection: Connection, error: unknown): void;
  /** The writes of this turn are done. */
  atTurnEnd(): void;
}

/**
 * Write coalescing: the frames that a connection gets in one turn of the event loop leave in one write at its end.
 *
 * A turn has many notifications and many connections. Each connection gets a different selection, in exact order. Lists
 * for all connections would need notifications × connections entries, and as many copies of the same bytes. Instead the
 * turn builds a tree:
 *
 *     root ── A ── B ── C      connections 1, 2, 3 … get A B C: one pointer each, joined once
 *              └── C           connection 7 is not in B's room: A C
 *
 * The root has no frames. A node has the frames of its parent, then one more. Each connection points at a node.
 * A new frame moves the pointer to the child for that frame. Listeners of a room mostly got the same frames in this
 * turn, so the child is nearly always the newest one: one comparison, no allocation. At the end of the turn a node
 * joins its bytes once, for all connections that point at it. If there are too many connections for one turn, the rest
 * are written in the next turns.
 *
 * Control frames go the same way, so they keep their order among the notifications.
 */
export class Coalescer {
  #root = new FrameNode();
  /** Connections whose frames wait. */
  readonly #queue: Turns<Connection>;
  readonly #events: CoalescerEvents;
  readonly #counters: Counters;
  readonly #maxBufferedBytes: number;

  /** @param maxBufferedBytes as many bytes may wait for one connection */
  constructor(events: CoalescerEvents, counters: Counters, maxBufferedBytes: number) {
    this.#events = events;
    this.#counters = counters;
    this.#maxBufferedBytes = maxBufferedBytes;
    this.#queue = new Turns(
      connection => this.#guard(connection, this.#flush),
      () => {
        // Connections that still wait point into the old tree. Their next frames are added there.
        this.#root = new FrameNode();
        events.atTurnEnd();
      },
    );
  }

  /** Adds a frame for a connection. If many connections get the same Buffer object, it is joined once. */
  send(connection: Connection, frame: Buffer): void {
    if (connection.pending === undefined) this.#queue.push(connection);
    connection.pending = (connection.pending ?? this.#root).plus(frame);
  }

  /** Calls `taken` when the kernel has taken everything written to a connection that waits, even without a frame. */
  awaitTaken(connection: Connection): void {
    if (connection.pending !== undefined) return;
    this.#queue.push(connection);
    connection.pending = this.#root;
  }

  /** Bytes that wait for a connection: until the end of the turn, or until the kernel takes them. */
  waiting(connection: Connection): number {
    return (connection.pending?.length ?? 0) + connection.socket.waiting;
  }

  /** Whether so many more bytes may wait for a connection. One frame may always. */
  hasRoom(connection: Connection, bytes: number): boolean {
    const waiting = this.waiting(connection);
    return waiting + bytes <= this.#maxBufferedBytes || waiting === 0;
  }

  /** Writes the frames of one connection now, for example before it is closed. */
  flush(connection: Connection): void {
    const { pending, reading, untold } = connection;
    if (pending === undefined) return;
    connection.pending = undefined;
    if (connection.closed) return;
    this.#counters.writtenBytes += pending.length;
    if (reading === undefined && untold === undefined) connection.socket.write(pending.bytes());
    else connection.socket.write(pending.bytes(), () => this.#guard(connection, this.#events.taken));
  }

  /** Makes sure that `atTurnEnd` is called. */
  schedule(): void {
    this.#queue.schedule();
  }

  readonly #flush = (connection: Connection) => this.flush(connection);

  /** Serves a connection. An error with one connection must not stop the others. */
  #guard(connection: Connection, serve: (connection: Connection) => void): void {
    try {
      serve(connection);
    } catch (error) {
      this.#events.failed(connection, error);
    }
  }
}
