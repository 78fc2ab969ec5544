import type { Clock } from './clock.js';

/** `<milliseconds>-<sequence>`: the name of a notification, and the cursor "everything after this". */
export type Id = `${number}-${number}`;

export interface Moment {
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** Counts up from 0 in the same millisecond. */
  readonly sequence: number;
}

const ID = /^(\d{1,15})-(\d{1,15})$/;

/** The parts of an id; undefined if the text is no id. */
export function parseId(text: string): Moment | undefined {
  const parts = ID.exec(text);
  if (parts === null) return undefined;
  return { time: Number(parts[1]), sequence: Number(parts[2]) };
}

/** The parts of an id. Throws if the text is no id. */
export function momentOf(id: string): Moment {
  const moment = parseId(id);
  if (moment === undefined) throw new Error(`${JSON.stringify(id)} is no id`);
  return moment;
}

export function formatId(moment: Moment): Id {
  return `${moment.time}-${moment.sequence}`;
}

/** Negative if `a` comes before `b`, zero if both are equal, positive if `a` comes after `b`. */
export function compareMoments(a: Moment, b: Moment): number {
  return a.time - b.time || a.sequence - b.sequence;
}

/**
 * Gives out moments that strictly increase, and the time that they are measured by. This time never goes back: if the
 * clock is set back, the time goes on from where it was, at its own pace.
 */
export class IdClock {
  #last: Moment;
  #time: number;
  #elapsed: number;
  readonly #clock: Clock;

  /** @param last all moments come after it */
  constructor(clock: Clock, last: Moment) {
    this.#clock = clock;
    this.#last = last;
    this.#time = last.time;
    this.#elapsed = clock.elapsed();
  }

  /** Milliseconds since the epoch. */
  now(): number {
    const elapsed = this.#clock.elapsed();
    this.#time = Math.max(this.#clock.now(), this.#time + Math.max(0, elapsed - this.#elapsed));
    this.#elapsed = elapsed;
    return Math.floor(this.#time);
  }

  next(): Moment {
    const time = this.now();
    const { time: lastTime, sequence } = this.#last;
    this.#last = time > lastTime ? { time, sequence: 0 } : { time: lastTime, sequence: sequence + 1 };
    return this.#last;
  }

  /** The moment that was given out last. */
  get last(): Moment {
    return this.#last;
  }
}
