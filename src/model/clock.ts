/** A source of the time. */
export interface Clock {
  /** Milliseconds since the epoch. Somebody may set it forward or back. */
  now(): number;
  /** Milliseconds since some moment. Nobody can set it. */
  elapsed(): number;
}

export const systemClock: Clock = { now: Date.now, elapsed: () => performance.now() };

/** Calls `run` once, after so many milliseconds. Returns a function that calls this off. */
export type After = (milliseconds: number, run: () => void) => () => void;

/** Does not keep the process alive. */
export const systemAfter: After = (milliseconds, run) => {
  const timer = setTimeout(run, milliseconds).unref();
  return () => clearTimeout(timer);
};
