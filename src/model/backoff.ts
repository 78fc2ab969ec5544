const FIRST_PAUSE_MS = 100;

/**
 * Milliseconds to wait before the next attempt: 100 after the first failure, then twice as long after each failure.
 * @param failures how many attempts in a row have failed, 1 or more
 * @param longestMs the result is never larger
 */
export function backoff(failures: number, longestMs: number): number {
  return Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), longestMs);
}
