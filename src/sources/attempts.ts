import { pause } from '../model/pause.js';
import { backoff } from '../model/backoff.js';
import type { Intake } from './intake.js';

const LONGEST_PAUSE_MS = 5000;
// An attempt that lasted longer was not a failure: the next pause is a short one again.
const SERVED_MS = 10_000;

/**
 * Makes one attempt after the other to read from a broker, with growing pauses, until the server stops. Never rejects.
 * @param what the log says this when an attempt has ended
 * @param attempt lasts until the broker is lost; resolves to the reason or rejects with the reason
 */
export async function keepTrying(
  intake: Intake,
  what: string,
  attempt: () => Promise<unknown>,
): Promise<void> {
  const { stopping } = intake;
  let failures = 0;
  while (!stopping.aborted) {
    const started = performance.now();
    const reason = await attempt().catch((error: unknown) => error);
    intake.failed(what, reason);
    failures = performance.now() - started > SERVED_MS ? 1 : failures + 1;
    // The pause is random: many processes may have lost the same broker, and must not come back all at once.
    await pause(backoff(failures, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2), stopping);
  }
}
