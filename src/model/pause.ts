import { setTimeout as after } from 'node:timers/promises';

/** Waits so many milliseconds, or until the signal is aborted. Callers must check the signal afterwards. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  // It rejects only if the signal is aborted.
  await after(milliseconds, undefined, { signal }).catch(() => undefined);
}

/** Waits for something, at most so many milliseconds. Its result or error does not matter. */
export async function waitBriefly(something: Promise<unknown>, milliseconds: number): Promise<void> {
  const deadline = new AbortController();
  await Promise.race([something.catch(() => undefined), pause(milliseconds, deadline.signal)]);
  deadline.abort();
}
