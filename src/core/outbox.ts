import type { Connection } from './connection.js';

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
 *
 * Control frames go the same way, so they keep their place among the notifications.
 */
export class Outbox {
  #root = new Owed(undefined, EMPTY);
  #owing: Connection[] = [];
  #scheduled = false;
  readonly #atTurnEnd: () => void;
  readonly #taken: (connection: Connection) => void;

  /**
   * @param taken a connection that is not live has room again: the kernel took all that was written to it
   * @param atTurnEnd called once after the writes of each turn that sent something
   */
  constructor(taken: (connection: Connection) => void, atTurnEnd: () => void) {
    this.#taken = taken;
    this.#atTurnEnd = atTurnEnd;
  }

  /** Owes a connection one more frame. The same Buffer object for many connections is joined once. */
  send(connection: Connection, frame: Buffer): void {
    if (connection.owed === undefined) this.#owing.push(connection);
    connection.owed = (connection.owed ?? this.#root).plus(frame);
    this.schedule();
  }

  /** Asks for `taken` once the kernel took what this connection was written, even if it is owed nothing. */
  awaitTaken(connection: Connection): void {
    if (connection.owed === undefined) {
      this.#owing.push(connection);
      connection.owed = this.#root;
    }
    this.schedule();
  }

  /** Bytes that wait for a connection: owed in this turn, or written and not yet taken by the kernel. */
  waiting(connection: Connection): number {
    return (connection.owed?.length ?? 0) + connection.socket.waiting;
  }

  /** Writes now what one connection is owed: before it is closed, say. */
  flush(connection: Connection): void {
    const { owed } = connection;
    if (owed === undefined) return;
    connection.owed = undefined;
    if (connection.closed) return;
    if (connection.reading === undefined) connection.socket.write(owed.bytes());
    else connection.socket.write(owed.bytes(), () => this.#taken(connection));
  }

  /** Makes sure that the turn has an end. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // After the poll phase: every request that arrived together is one turn.
    setImmediate(() => this.#flushAll());
  }

  #flushAll(): void {
    this.#scheduled = false;
    const owing = this.#owing;
    this.#owing = [];
    this.#root = new Owed(undefined, EMPTY);
    for (const connection of owing) this.flush(connection);
    this.#atTurnEnd();
  }
}

const EMPTY = Buffer.alloc(0);

/** A node of the turn's tree: what the parent owes, then one frame. */
export class Owed {
  /** Bytes owed in all. */
  readonly length: number;
  readonly #parent: Owed | undefined;
  readonly #frame: Buffer;
  #lastChild: Owed | undefined;
  #children: Map<Buffer, Owed> | undefined;
  #bytes: Buffer | undefined;

  constructor(parent: Owed | undefined, frame: Buffer) {
    this.#parent = parent;
    this.#frame = frame;
    this.length = (parent?.length ?? 0) + frame.length;
  }

  /** The node for what is owed here, then `frame`. */
  plus(frame: Buffer): Owed {
    const last = this.#lastChild;
    if (last !== undefined && last.#frame === frame) return last;
    return this.#otherChild(frame);
  }

  /** The frames from the root to here, joined once. */
  bytes(): Buffer {
    if (this.#bytes !== undefined) return this.#bytes;
    if (this.length === this.#frame.length) return this.#frame;
    const bytes = Buffer.allocUnsafe(this.length);
    let end = this.length;
    for (let node: Owed | undefined = this; node !== undefined; node = node.#parent) {
      end -= node.#frame.length;
      node.#frame.copy(bytes, end);
    }
    this.#bytes = bytes;
    return bytes;
  }

  #otherChild(frame: Buffer): Owed {
    const last = this.#lastChild;
    let child = this.#children?.get(frame);
    if (child === undefined) {
      child = new Owed(this, frame);
      if (last !== undefined) {
        this.#children ??= new Map([[last.#frame, last]]);
        this.#children.set(frame, child);
      }
    }
    this.#lastChild = child;
    return child;
  }
}
