import type { Id } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';

/** The result of an append. */
export interface Appended {
  /** The notification's id; for a repeated key, the id of the first notification. */
  readonly id: Id;
  /** Its idempotency key was used before: nothing was appended. */
  readonly duplicate: boolean;
}

/** Gets the entries of a journal. */
export interface Follower {
  deliver(entry: Entry): void;
  /**
   * The journal was trimmed before this node had read all of it. Entries after the last one delivered, up to this id,
   * will never come.
   */
  skipped(until: Id): void;
}

export interface JournalStatus {
  /** Whether it can take entries now. */
  readonly available: boolean;
  /** How far the follower is behind, in milliseconds. */
  readonly lagMs: number;
}

/** All accepted notifications. Every node delivers them in the same order. */
export interface Journal {
  /** Its name in `JOURNAL` and in the health report. */
  readonly kind: string;

  /**
   * Writes a notification and gives it an id. Resolves when it is as durable as this journal makes it. Otherwise
   * rejects with a Problem that says what to do. Ids have the order of the calls, even if one call does not wait for
   * the other. The entry is delivered to the follower before this resolves; if nodes share the journal, perhaps a
   * little later.
   */
  append(notification: Notification): Promise<Appended>;

  /**
   * The id of the first notification with the same key, as long as that is known. Rejects with a Problem: `key_reused` if
   * it has other addresses or another event, `unavailable` if it cannot be known now.
   */
  firstWith(notification: Notification): Promise<Id | undefined>;

  /**
   * Delivers the retained past, then new entries of all nodes until close: each once, in the order of ids. Call it
   * once, before the first append. Resolves when the past was delivered, to the id that the past begins after: entries
   * at or before this id are gone.
   */
  follow(follower: Follower): Promise<Id>;

  /**
   * The journal's own time, in milliseconds since the epoch, for the age of entries. It never goes back, even if the
   * system's clock is set back.
   */
  now(): number;

  /** The newest id that any node ever gave. Rejects if it cannot be known now. */
  newest(): Promise<Id>;

  status(): JournalStatus;

  /** Finishes all appends, then releases everything. Idempotent. */
  close(): Promise<void>;
}
