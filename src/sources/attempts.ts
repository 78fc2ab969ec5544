import { pause } from '../model/pause.js';
import { type Intake, Stopped } from './intake.js';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
// An attempt that lasted longer than this was no failure: the next pause is a short one again.
const SERVED_MS = 10_000;

/**
 * Makes one attempt after the other to be served by a broker, with growing pauses while they fail, until the server
 * stops. An attempt ends, by resolving to or rejecting with the reason, when the broker is lost.
 */
export async function keepTrying(
  intake: Intake,
  what: string,
  attempt: () => Promise<unknown>,
): Promise<void> {
  const { stopping } = intake;
  let milliseconds = FIRST_PAUSE_MS;
  while (!stopping.aborted) {
    const started = performance.now();
    const reason = await attempt().catch((error: unknown) => error);
    if (stopping.aborted) return;
    intake.failed(what, reason);
    if (performance.now() - started > SERVED_MS) milliseconds = FIRST_PAUSE_MS;
    // With jitter, for many may have lost the same broker.
    await pause(milliseconds * (0.5 + Math.random() / 2), stopping);
    milliseconds = Math.min(2 * milliseconds, LONGEST_PAUSE_MS);
  }
}

/**
 * Puts dead letters away, one after the other, each again until that works: what they came with is published and must
 * not come again for their sake. Rejects when the server stops, or with the error where the source has to begin anew.
 */
export async function bury<L>(
  intake: Intake,
  letters: readonly L[],
  put: (letter: L) => Promise<unknown>,
  isOver: () => boolean,
): Promise<void> {
  for (const letter of letters) {
    for (let milliseconds = FIRST_PAUSE_MS; ; milliseconds = Math.min(2 * milliseconds, LONGEST_PAUSE_MS)) {
      try {
        await put(letter);
        break;
      } catch (error) {
        if (intake.stopping.aborted) throw new Stopped();
        if (isOver()) throw error;
        intake.failed('a dead letter cannot be put away', error);
        await pause(milliseconds, intake.stopping);
      }
    }
  }
}
