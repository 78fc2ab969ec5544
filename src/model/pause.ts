import { setTimeout as after } from 'node:timers/promises';

/** Waits so many milliseconds; until the signal, if that comes before. Whoever goes on from here looks at the signal. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  // It rejects for the signal alone.
  await after(milliseconds, undefined, { signal }).catch(() => undefined);
}

/** Waits for something, so many milliseconds at the most; how it ends does not matter. */
export async function waitBriefly(something: Promise<unknown>, milliseconds: number): Promise<void> {
  const deadline = new AbortController();
  await Promise.race([something.catch(() => undefined), pause(milliseconds, deadline.signal)]);
  deadline.abort();
}
