import { pause } from '../model/pause.js';
import { backoff } from '../model/backoff.js';
import type { Intake } from './intake.js';
import type { Message, Refused } from './message.js';

const LONGEST_PAUSE_MS = 5000;

/** The longest reason that a header gets, in characters. */
export const MAX_REASON = 1000;

/**
 * Sends refused messages to the dead letters, in order. A failed `send` is tried again, with growing pauses: the other
 * messages are published already, and the broker must not deliver them again because of one dead letter. Rejects with
 * `Stopped` if `send` fails while the server stops; with the error of `send` if `isOver` is true.
 */
export async function sendToDeadLetters<M extends Message>(
  intake: Intake,
  refused: readonly Refused<M>[],
  send: (deadLetter: Refused<M>) => Promise<unknown>,
  isOver: () => boolean = () => false,
): Promise<void> {
  for (const deadLetter of refused) {
    for (let failures = 1; ; failures++) {
      try {
        await send(deadLetter);
        break;
      } catch (error) {
        intake.stopping.throwIfAborted();
        if (isOver()) throw error;
        intake.failed('a dead letter cannot be sent', error);
        await pause(backoff(failures, LONGEST_PAUSE_MS), intake.stopping);
      }
    }
  }
}
