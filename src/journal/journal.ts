import type { Id } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';

/** What became of an append. */
export interface Appended {
  /** The notification's id; for a repeated key that of the first. */
  readonly id: Id;
  /** Its idempotency key was there already: nothing was appended. */
  readonly duplicate: boolean;
}

/** Who follows a journal. */
export interface Follower {
  /** Takes the next entry. */
  deliver(entry: Entry): void;
  /**
   * The journal went on without us and was trimmed meanwhile: entries up to this id, and back to the last one
   * delivered, will never come.
   */
  skipped(until: Id): void;
}

export interface JournalStatus {
  /** Whether it can take entries now. */
  readonly available: boolean;
  /** How far the follower is behind, in milliseconds. */
  readonly lagMs: number;
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
   * waiting get ids in the order of the calls. By the time it resolves the entry has been delivered to the
   * follower; on a journal that nodes share it may be delivered a little later.
   */
  append(notification: Notification): Promise<Appended>;

  /**
   * Delivers the retained past, then everything that is appended, by whichever node: in order of ids,
   * each once, from now until close. Called once, before the first append. Resolves when the past was
   * delivered, to the point that it reaches back to: what came before, or at it, is gone.
   */
  follow(follower: Follower): Promise<Id>;

  /**
   * The journal's own clock, in milliseconds since the epoch, by which the age of entries is measured. It never goes
   * back, also where the system's clock is set back.
   */
  now(): number;

  /** The newest id that was ever given, by whichever node. Rejects where that cannot be known now. */
  newest(): Promise<Id>;

  status(): JournalStatus;

  /** Finishes what was appended, then lets go of everything. Idempotent. */
  close(): Promise<void>;
}
