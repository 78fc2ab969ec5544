import { Fifo } from './fifo.js';

/** How long one queue works in one turn of the event loop, in milliseconds. One item may make it longer. */
export const TURN_MS = 5;

/**
 * Serves items in order: as many in one turn of the event loop as fit into 5 ms, the rest in the next turns. So others
 * need not wait for a crowd, however large it is.
 */
export class Turns<T> {
  readonly #serve: (item: T) => void;
  readonly #done: () => void;
  readonly #turnMs: number;
  readonly #items = new Fifo<T>();
  #isScheduled = false;

  /**
   * @param serve must not throw
   * @param done called at the end of each turn in which something was to be done
   * @param turnMs how long it works in one turn, in milliseconds; one item may make it longer
   */
  constructor(serve: (item: T) => void, done: () => void = () => undefined, turnMs = TURN_MS) {
    this.#serve = serve;
    this.#done = done;
    this.#turnMs = turnMs;
  }

  push(item: T): void {
    this.#items.push(item);
    this.schedule();
  }

  /** Makes sure that `done` is called in the next turn, even if no item waits. */
  schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // After the poll phase: items that arrive together are served in one turn.
    setImmediate(this.#work);
  }

  readonly #work = (): void => {
    this.#isScheduled = false;
    const end = performance.now() + this.#turnMs;
    // Items that are pushed meanwhile belong to the next turn.
    for (let left = this.#items.size; left > 0; left--) {
      this.#serve(this.#items.shift() as T);
      if (performance.now() >= end) break;
    }
    if (this.#items.size > 0) this.schedule();
    this.#done();
  };
}

/** Something whose input may have to wait. */
export interface Waiting {
  /** Called when its turn has come: takes the input that waits. */
  goOn(): void;
}

/**
 * Shares the event loop fairly if many peers send at once: each turn takes input for some milliseconds. Later input
 * waits for one of the next turns, in order.
 */
export class FairTurns {
  readonly #waiting: Turns<Waiting>;
  readonly #turnMs: number;
  #end: number | undefined;

  /** @param turnMs how long new input is taken in one turn, in milliseconds; input that has waited gets as long again */
  constructor(turnMs = TURN_MS) {
    this.#turnMs = turnMs;
    this.#waiting = new Turns(item => item.goOn(), undefined, turnMs);
  }

  /** Whether this turn has no time left for an item. Then `goOn` is called in a later turn. */
  mustWait(item: Waiting): boolean {
    const now = performance.now();
    if (this.#end === undefined) {
      this.#end = now + this.#turnMs;
      setImmediate(() => {
        this.#end = undefined;
      });
      return false;
    }
    if (now < this.#end) return false;
    this.wait(item);
    return true;
  }

  /** Makes an item wait for the next turn. */
  wait(item: Waiting): void {
    this.#waiting.push(item);
  }
}

/**
 * Calls `act` for each item, in order, in as many turns of the event loop as needed.
 * @param turnMs how long it works in one turn, in milliseconds; one item may make it longer
 */
export async function inTurns<T>(
  items: Iterable<T>,
  act: (item: T) => void,
  turnMs = TURN_MS,
): Promise<void> {
  let end = performance.now() + turnMs;
  for (const item of items) {
    act(item);
    if (performance.now() < end) continue;
    await nextTurn();
    end = performance.now() + turnMs;
  }
}

/** Resolves in the next turn of the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}
