import type { MembersChange, Wire } from '../connection.js';

/** The frames of some changes of a room, in one piece: the same bytes for all connections of a protocol. */
export class ChangeFrames {
  readonly all: Buffer;
  readonly #wire: Wire;
  readonly #room: string;
  readonly #changes: readonly MembersChange[];
  /** Where each frame begins, and where the last one ends. */
  readonly #starts: number[] = [0];

  constructor(wire: Wire, room: string, changes: readonly MembersChange[]) {
    this.#wire = wire;
    this.#room = room;
    this.#changes = changes;
    let end = 0;
    const frames = changes.map(change => {
      const frame = wire.members(room, change);
      end += frame.length;
      this.#starts.push(end);
      return frame;
    });
    this.all = Buffer.concat(frames);
  }

  /**
   * The frames for the user of a change that is `joined`: nobody hears that he himself has joined.
   * @param isRenewed whether the user has another `info` than this connection was told
   */
  without(index: number, isRenewed: boolean): Buffer[] {
    const change = this.#changes[index];
    const before = this.all.subarray(0, this.#starts[index]);
    const after = this.all.subarray(this.#starts[index + 1]);
    const own =
      isRenewed && change?.type === 'joined'
        ? [this.#wire.members(this.#room, { type: 'changed', member: change.member })]
        : [];
    return [before, ...own, after].filter(frames => frames.length > 0);
  }
}
