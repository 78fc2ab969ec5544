import { pause } from '../model/pause.js';

const INTERVAL_MS = 2000;

/**
 * Measures the lag now and every two seconds, until the signal is aborted. Resolves after the first time.
 * @param measure must not reject
 */
export async function watchLag(measure: () => Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await measure();
  void pause(INTERVAL_MS, signal).then(() => watchLag(measure, signal));
}
