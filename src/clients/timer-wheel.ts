import { TURN_MS, Turns } from '../model/turns.js';

export interface Timer {
  /** The tick when it is due. The wheel sets it. */
  dueAt: number;
  /** Called when it is due. Returns the seconds until it is due again; undefined: never again. */
  due(): number | undefined;
}

/** Calls `run` every so many milliseconds. Returns a function that ends this. */
export type Every = (milliseconds: number, run: () => void) => () => void;

/**
 * Any number of timers, in whole seconds, on one timer of the system. The wheel counts its own ticks, so it does not
 * depend on the clock's time.
 */
export class TimerWheel {
  readonly #slots = new Map<number, Set<Timer>>();
  #tick = 0;
  /** Timers for which this turn of the event loop had no time. */
  readonly #rest = new Turns<Timer>(timer => this.#call(timer));
  #stop: (() => void) | undefined;
  readonly #failed: (error: unknown) => void;
  readonly #every: Every;

  /**
   * @param failed called with the error of a timer; the other timers still run
   * @param every the system's timer; by default it does not keep the process alive
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

  add(timer: Timer, seconds: number): void {
    timer.dueAt = this.#tick + Math.max(1, Math.ceil(seconds));
    const slot = this.#slots.get(timer.dueAt);
    if (slot === undefined) this.#slots.set(timer.dueAt, new Set([timer]));
    else slot.add(timer);
  }

  remove(timer: Timer): void {
    const slot = this.#slots.get(timer.dueAt);
    if (slot?.delete(timer) && slot.size === 0) this.#slots.delete(timer.dueAt);
  }

  /** A second has passed: calls all timers that are due. */
  tick(): void {
    const slot = this.#slots.get(++this.#tick);
    if (slot === undefined) return;
    this.#slots.delete(this.#tick);
    const end = performance.now() + TURN_MS;
    for (const timer of slot) {
      if (performance.now() < end) this.#call(timer);
      else this.#rest.push(timer);
    }
  }

  #call(timer: Timer): void {
    try {
      const seconds = timer.due();
      if (seconds !== undefined) this.add(timer, seconds);
    } catch (error) {
      this.#failed(error);
    }
  }
}

function byTheClock(milliseconds: number, run: () => void): () => void {
  const timer = setInterval(run, milliseconds).unref();
  return () => clearInterval(timer);
}
