import type { Appended, Journal } from '../journal/journal.js';
import type { Id } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { unavailable } from '../model/problem.js';
import type { Counters } from './counters.js';
import type { Counts } from './counts.js';
import type { Inquiry } from './receipts/inquiry.js';
import type { Waits } from './receipts/waits.js';
import type { Schedule, ScheduleReceipt } from './schedule.js';

const RETRY_AFTER_SECONDS = 1;

/** The answer to a publisher. */
export interface Receipt {
  readonly id: Id;
  /** Open connections on all nodes that it was addressed to, readers included. 0 is a normal answer. */
  readonly connections: number;
  /** Connections that have acknowledged it; only if the notification waits for that. */
  readonly acknowledged?: number;
  /** The key was used before: nothing was sent, and `id` is the id of the first notification. */
  readonly duplicate: boolean;
  /** Present if some node did not report its part of `connections` in time. */
  readonly partial?: true;
}

/** What publishing needs. */
export interface PublishingParts {
  readonly journal: Journal;
  readonly counts: Counts;
  readonly waits: Waits;
  readonly schedule: Schedule;
  readonly inquiry: Inquiry;
  readonly counters: Counters;
  /** Whether notifications are taken now. */
  readonly isOpen: () => boolean;
}

/** Takes notifications: writes them into the journal, or into the schedule, and tells publishers what came of it. */
export class Publishing {
  readonly #parts: PublishingParts;
  #looks: Promise<unknown> = Promise.resolve();

  constructor(parts: PublishingParts) {
    this.#parts = parts;
  }

  /** Resolves when the notification is in the journal and counted. */
  async publish(notification: Notification): Promise<Receipt> {
    const { counts, waits, inquiry } = this.#parts;
    const { wait } = notification;
    const { id, duplicate } = await this.#append(notification);
    if (duplicate) {
      const known = wait === undefined ? undefined : await inquiry.ask(id);
      return { id, connections: 0, ...(known && { acknowledged: known.acknowledged }), duplicate };
    }
    const { connections, partial } = await counts.total(id);
    const acknowledged = wait === undefined ? undefined : await waits.wait(id, wait);
    return {
      id,
      connections,
      ...(acknowledged !== undefined && { acknowledged }),
      duplicate,
      ...(partial && { partial }),
    };
  }

  /** As `publish`, but a notification that names a moment waits for it. */
  async accept(notification: Notification): Promise<Receipt | ScheduleReceipt> {
    const { schedule } = this.#parts;
    const { at } = notification;
    if (at !== undefined) {
      this.#requireOpen();
      const accepted = await schedule.add(notification, at);
      return 'sent' in accepted ? { id: accepted.sent, connections: 0, duplicate: true } : accepted;
    }
    // One with the same key may wait.
    const waiting = schedule.isUsed ? await this.#inTurn(schedule.firstWith(notification)) : undefined;
    return waiting ?? this.publish(notification);
  }

  /** As `publish`, but resolves when it is in the journal, and does not count. */
  async append(notification: Notification): Promise<Id> {
    const { id, duplicate } = await this.#append(notification);
    if (!duplicate) this.#parts.counts.forget(id);
    return id;
  }

  /** What looks into the schedule first keeps its order all the same. */
  #inTurn<T>(look: Promise<T>): Promise<T> {
    look.catch(() => undefined);
    const turn = this.#looks.then(() => look);
    this.#looks = turn.catch(() => undefined);
    return turn;
  }

  #requireOpen(): void {
    if (!this.#parts.isOpen())
      throw unavailable('This server is starting or shutting down; try again.', RETRY_AFTER_SECONDS);
  }

  async #append(notification: Notification): Promise<Appended> {
    const { journal, counters } = this.#parts;
    this.#requireOpen();
    const appended = await journal.append(notification);
    if (!appended.duplicate) counters.published++;
    return appended;
  }
}
