/** A source of the time. */
export interface Clock {
  /** Milliseconds since the epoch. Somebody may set it forward or back. */
  now(): number;
  /** Milliseconds since some moment. Nobody can set it. */
  elapsed(): number;
}

export const systemClock: Clock = { now: Date.now, elapsed: () => performance.now() };
