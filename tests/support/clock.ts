import type { Clock } from '../../src/model/clock.js';

/** A clock of a test's own, which stands still by itself. */
export function clockOf(now: () => number, elapsed: () => number = () => 0): Clock {
  return { now, elapsed };
}
