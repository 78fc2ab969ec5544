import { TURN_MS, Turns } from '../model/turns.js';

/** Something that is due again and again. */
export interface Timed {
  /** The tick it stands under; kept by the timetable. */
  dueAt: number;
  /** Called when due. Returns in how many seconds it is due next; undefined: never again. */
  due(): number | undefined;
}

/** Runs something every so many milliseconds, and returns what ends that. */
export type Every = (milliseconds: number, run: () => void) => () => void;

/**
 * Whose turn is when, in whole seconds: one timer for any number of connections. Counts its own ticks, so
 * that a clock which is set forward or back moves nothing.
 */
export class Timetable {
  readonly #rows = new Map<number, Set<Timed>>();
  #tick = 0;
  /** Those for whom the turn of the event loop had no time. */
  readonly #rest = new Turns<Timed>(timed => this.#call(timed));
  #stop: (() => void) | undefined;
  readonly #failed: (error: unknown) => void;
  readonly #every: Every;

  /**
   * @param failed told of an error of one who was due; the others get their turn all the same
   * @param every the timer; one that keeps no process alive, unless another is given
   */
  constructor(failed: (error: unknown) => void, every: Every = byTheClock) {
    this.#failed = failed;
    this.#every = every;
  }

  start(): void {
    this.#stop = this.#every(1000, () => this.tick());
  }

  stop(): void {
    this.#stop?.();
  }

  add(timed: Timed, seconds: number): void {
    timed.dueAt = this.#tick + Math.max(1, Math.ceil(seconds));
    const row = this.#rows.get(timed.dueAt);
    if (row === undefined) this.#rows.set(timed.dueAt, new Set([timed]));
    else row.add(timed);
  }

  remove(timed: Timed): void {
    const row = this.#rows.get(timed.dueAt);
    if (row?.delete(timed) && row.size === 0) this.#rows.delete(timed.dueAt);
  }

  /** A second has passed: calls all who are due. */
  tick(): void {
    const row = this.#rows.get(++this.#tick);
    if (row === undefined) return;
    this.#rows.delete(this.#tick);
    const end = performance.now() + TURN_MS;
    for (const timed of row) {
      if (performance.now() < end) this.#call(timed);
      else this.#rest.push(timed);
    }
  }

  #call(timed: Timed): void {
    try {
      const seconds = timed.due();
      if (seconds !== undefined) this.add(timed, seconds);
    } catch (error) {
      this.#failed(error);
    }
  }
}

function byTheClock(milliseconds: number, run: () => void): () => void {
  const timer = setInterval(run, milliseconds).unref();
  return () => clearInterval(timer);
}
