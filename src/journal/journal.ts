import type { Id } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';

/** What became of an append. */
export interface Appended {
  /** The notification's id; for a repeated key that of the first. */
  readonly id: Id;
  /** Its idempotency key was there already: nothing was appended. */
  readonly duplicate: boolean;
}

/**
 * The truth: what is in it was accepted, and everybody hears it in its order.
 */
export interface Journal {
  /** Its name in `JOURNAL` and in the health report. */
  readonly kind: string;

  /**
   * Writes a notification and gives it its id. Resolves when it is as durable as this journal makes it;
   * rejects, with a Problem that says what to do, when it is not. Calls that follow each other without
   * waiting get ids in the order of the calls. On a journal of one process the entry has been delivered
   * to the follower by the time this resolves.
   */
  append(notification: Notification): Promise<Appended>;

  /**
   * Delivers the retained past, then everything that is appended, by whichever node: in order of ids,
   * each once, from now until close. Called once, before the first append. Resolves when the past was
   * delivered, to the point that it reaches back to: what came before, or at it, is gone.
   */
  follow(deliver: (entry: Entry) => void): Promise<Id>;

  /** Whether it can take entries now, and how far (milliseconds) the follower is behind. */
  status(): { readonly available: boolean; readonly lagMs: number };

  /** Finishes what was appended, then lets go of everything. Idempotent. */
  close(): Promise<void>;
}
