const EMPTY = Buffer.alloc(0);

/** A node of the tree that the coalescer builds in a turn: the frames of its parent, then one more. */
export class FrameNode {
  /** Bytes of all its frames. */
  readonly length: number;
  readonly #parent: FrameNode | undefined;
  readonly #frame: Buffer;
  #lastChild: FrameNode | undefined;
  #children: Map<Buffer, FrameNode> | undefined;
  #bytes: Buffer | undefined;

  /** Without arguments it is the root, which has no frames. */
  constructor(parent?: FrameNode, frame: Buffer = EMPTY) {
    this.#parent = parent;
    this.#frame = frame;
    this.length = (parent?.length ?? 0) + frame.length;
  }

  /** The node for the frames of this node, then `frame`. */
  plus(frame: Buffer): FrameNode {
    const last = this.#lastChild;
    if (last !== undefined && last.#frame === frame) return last;
    return this.#otherChild(frame);
  }

  /** The frames from the root to this node, joined once. */
  bytes(): Buffer {
    if (this.#bytes !== undefined) return this.#bytes;
    if (this.length === this.#frame.length) return this.#frame;
    const bytes = Buffer.allocUnsafe(this.length);
    let end = this.length;
    for (let node: FrameNode | undefined = this; node !== undefined; node = node.#parent) {
      end -= node.#frame.length;
      node.#frame.copy(bytes, end);
    }
    this.#bytes = bytes;
    return bytes;
  }

  #otherChild(frame: Buffer): FrameNode {
    const last = this.#lastChild;
    let child = this.#children?.get(frame);
    if (child === undefined) {
      child = new FrameNode(this, frame);
      if (last !== undefined) {
        this.#children ??= new Map([[last.#frame, last]]);
        this.#children.set(frame, child);
      }
    }
    this.#lastChild = child;
    return child;
  }
}
