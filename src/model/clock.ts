/** Where the time comes from. */
export interface Clock {
  /** Milliseconds since the epoch. It may be set, forward and back. */
  now(): number;
  /** Milliseconds since some moment. Nobody sets it. */
  elapsed(): number;
}

export const systemClock: Clock = { now: Date.now, elapsed: () => performance.now() };
