import type { Clock } from '../../src/model/clock.js';

/** A clock for a test. It stands still by itself. */
export function clockOf(now: () => number, elapsed: () => number = () => 0): Clock {
  return { now, elapsed };
}
