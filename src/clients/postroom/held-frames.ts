import type { RawData } from 'ws';
import type { FairTurns, Waiting } from '../../model/turns.js';

/** A client whose frames may have to wait. */
export interface Receiver {
  /** Whether its connection is closed: then its frames are dropped. */
  readonly isClosed: boolean;
  /** Takes a frame. Must not throw. */
  take(data: RawData, isBinary: boolean): void;
  /** Called when frames wait: nothing more should be read from the client until they are taken. */
  hold(): void;
  /** Called when no frame waits any more. */
  release(): void;
  /** Called with the error of something that was waited for. */
  fail(error: unknown): void;
}

/** Frames of one client that wait, in order, while this node catches up, or while others have their turn. */
export class HeldFrames implements Waiting {
  readonly #receiver: Receiver;
  readonly #turns: FairTurns;
  /** Undefined if new frames are taken at once. */
  #held: [data: RawData, isBinary: boolean][] | undefined;
  #isWaiting = false;

  constructor(receiver: Receiver, turns: FairTurns) {
    this.#receiver = receiver;
    this.#turns = turns;
  }

  /** Takes a frame now, or when its turn has come. */
  receive(data: RawData, isBinary: boolean): void {
    // At most the frames that were read before the socket was paused.
    if (this.#held !== undefined) this.#held.push([data, isBinary]);
    else if (this.#turns.mustWait(this)) this.#hold().push([data, isBinary]);
    else this.#receiver.take(data, isBinary);
  }

  /** Takes the first waiting frame. If none waits, new frames are taken at once again. */
  goOn(): void {
    const next = this.#receiver.isClosed ? undefined : this.#held?.shift();
    if (next === undefined) {
      this.#held = undefined;
      this.#receiver.release();
      return;
    }
    this.#receiver.take(...next);
    if (!this.#isWaiting) this.#turns.wait(this);
  }

  /** Goes on when something has happened. The client's later frames wait too, so they keep their order. */
  goOnAfter(something: Promise<void>, goOn: () => void): void {
    this.#isWaiting = true;
    this.#hold();
    something
      .then(() => {
        this.#isWaiting = false;
        if (!this.#receiver.isClosed) goOn();
        this.#turns.wait(this);
      })
      .catch(error => this.#receiver.fail(error));
  }

  /** The client's frames wait from now on. */
  #hold() {
    this.#held ??= [];
    this.#receiver.hold();
    return this.#held;
  }
}
