/** `<milliseconds>-<sequence>`: names a notification and is the cursor "everything after this". */
export type Id = `${number}-${number}`;

export interface Moment {
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** Counts what falls into the same millisecond, from 0. */
  readonly sequence: number;
}

const ID = /^(\d{1,15})-(\d{1,15})$/;

/** The parts of an id, or undefined for a text that is none. */
export function parseId(text: string): Moment | undefined {
  const parts = ID.exec(text);
  if (parts === null) return undefined;
  return { time: Number(parts[1]), sequence: Number(parts[2]) };
}

export function formatId(moment: Moment): Id {
  return `${moment.time}-${moment.sequence}`;
}

/** Negative, zero or positive as `a` comes before, at or after `b`. */
export function compareMoments(a: Moment, b: Moment): number {
  return a.time - b.time || a.sequence - b.sequence;
}

/** Hands out moments that strictly increase, also when the clock stands still or goes back. */
export class IdClock {
  #time: number;
  #sequence: number;
  readonly #now: () => number;

  /** @param now milliseconds since the epoch  @param last everything handed out comes after it */
  constructor(now: () => number, last: Moment) {
    this.#now = now;
    this.#time = last.time;
    this.#sequence = last.sequence;
  }

  next(): Moment {
    const now = this.#now();
    if (now > this.#time) {
      this.#time = now;
      this.#sequence = 0;
    } else {
      this.#sequence++;
    }
    return { time: this.#time, sequence: this.#sequence };
  }
}
