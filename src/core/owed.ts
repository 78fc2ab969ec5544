const EMPTY = Buffer.alloc(0);

/** A node of the tree that the outbox builds in a turn: what the parent owes, then one frame. */
export class Owed {
  /** Bytes owed in all. */
  readonly length: number;
  readonly #parent: Owed | undefined;
  readonly #frame: Buffer;
  #lastChild: Owed | undefined;
  #children: Map<Buffer, Owed> | undefined;
  #bytes: Buffer | undefined;

  /** Without arguments the root: nothing owed. */
  constructor(parent?: Owed, frame: Buffer = EMPTY) {
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
