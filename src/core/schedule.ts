import type { Cluster } from '../cluster/cluster.js';
import { requireSameTarget } from '../journal/key-reuse.js';
import type { After } from '../model/clock.js';
import type { Id } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { ownKey } from '../model/notification-json.js';
import { Problem, unavailable } from '../model/problem.js';
import { SortableIds, sortableTime } from '../model/sortable-ids.js';
import { nextTurn } from '../model/turns.js';
import { END, type Lease, type Store } from '../storage/store.js';

const TOPIC = 'schedule';
const NOT_MINE = 'ask another';
const SCHEDULE_ID = /^\d{1,20}-\d{1,20}-\d{1,10}-[\da-z]{1,8}$/;
const CHECK_MS = 1000;
const ANSWER_MS = 500;
const RETRY_AFTER_SECONDS = 1;
// So many leave together; the others get their turn in between.
const GROUP = 100;

/** A notification that waits for its moment. */
export interface Scheduled {
  readonly notification: Notification;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** The answer to a publisher whose notification waits. */
export interface ScheduleReceipt {
  /** The schedule id. */
  readonly scheduled: string;
  /** RFC 3339, in UTC. */
  readonly at: string;
  readonly duplicate: boolean;
}

/** A notification with the same key was sent already. */
export interface Sent {
  readonly sent: Id;
}

/**
 * Sends notifications later. They wait in a store, in the order of their moments. One node of the installation sends
 * what is due: it goes into the journal with a key of its own, so that a crash in between does not send it twice.
 */
export class Schedule {
  readonly #options: ScheduleOptions;
  /** What leaves just now: it cannot be taken back any more. */
  readonly #leaving = new Set<string>();
  /** Keys of publishers that are being accepted. */
  readonly #accepting = new Map<string, Promise<ScheduleReceipt | Sent>>();
  #cancelCheck: (() => void) | undefined;
  #checkAt = Number.POSITIVE_INFINITY;
  #checking: Promise<void> | undefined;
  /** Something came during a check that may not have seen it. */
  #isCheckDue = false;
  #isStopped = false;
  #isUsed = false;
  readonly #ids: SortableIds;

  constructor(options: ScheduleOptions) {
    this.#options = options;
    this.#ids = new SortableIds(options.cluster.node);
    options.cluster.handle(TOPIC, async id =>
      options.lease.isHeld ? String(await this.#take(id)) : NOT_MINE,
    );
  }

  /** Whether something may wait. */
  get isUsed(): boolean {
    return this.#isUsed;
  }

  /** Resolves when it is known whether something waits, or that cannot be known now. */
  async start(): Promise<void> {
    const [first] = await this.#options.store.range('', END, 1).catch(() => []);
    this.#isUsed = first !== undefined;
    this.#checkAfter(0);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelCheck?.();
    await this.#checking;
    await this.#options.lease.release().catch(() => undefined);
  }

  /**
   * Accepts a notification for later, if none with its key was sent or waits. Resolves when it is durable. Rejects with
   * a Problem: `unavailable`, or `key_reused` if its key stands for another notification.
   */
  add(notification: Notification, at: number): Promise<ScheduleReceipt | Sent> {
    const { key } = notification;
    // The order of the calls counts, not how long it takes to look up a key.
    const id = `${sortableTime(at)}-${this.#ids.next(this.#options.now())}`;
    this.#isUsed = true;
    if (key === undefined) return this.#accept(notification, at, id);
    // Two with one key may come at once.
    const accepted = this.#accepted(key).then(
      async () =>
        (await this.#firstWith(key, notification)) ??
        (await this.#firstSent(notification)) ??
        this.#accept(notification, at, id),
    );
    this.#accepting.set(key, accepted);
    const done = () => this.#accepting.get(key) === accepted && this.#accepting.delete(key);
    void accepted.then(done, done);
    return accepted;
  }

  /**
   * The notification with the same key that waits already, if there is one. Rejects with a Problem (`key_reused`) if it
   * has other addresses or another event.
   */
  async firstWith(notification: Notification): Promise<ScheduleReceipt | undefined> {
    const { key } = notification;
    if (key === undefined) return undefined;
    await this.#accepted(key);
    return this.#firstWith(key, notification);
  }

  /**
   * Takes a notification back. Resolves to false if it was sent, leaves just now, or never waited. Rejects with a
   * Problem.
   */
  async cancel(id: string): Promise<boolean> {
    if (!isScheduleId(id)) return false;
    const { cluster, lease } = this.#options;
    const { answers, partial } = await cluster.ask(TOPIC, id, ANSWER_MS);
    // Only the node that sends knows what is leaving just now.
    if (answers.includes('true')) return true;
    if (answers.includes('false')) return false;
    // Nobody sends if nothing has waited for a while.
    const isFree = !partial && answers.every(answer => answer === NOT_MINE);
    if (!isFree || !(await lease.hold().catch(cannot))) throw cannotNow();
    return this.#take(id).catch(cannot);
  }

  /** What waits, in the order of the moments: behind an id, at most so many. */
  async list(after: string, limit: number): Promise<[id: string, scheduled: Scheduled][]> {
    return this.#options.store.range(after === '' ? '' : `${after}\0`, END, limit).catch(cannot);
  }

  async #firstSent(notification: Notification): Promise<Sent | undefined> {
    const id = await this.#options.firstSent(notification);
    return id === undefined ? undefined : { sent: id };
  }

  /** Resolves when nobody is accepted with this key any more. */
  async #accepted(key: string): Promise<void> {
    await this.#accepting.get(key)?.catch(() => undefined);
  }

  async #firstWith(key: string, notification: Notification): Promise<ScheduleReceipt | undefined> {
    const { store, keys } = this.#options;
    const id = await keys.get(key).catch(cannot);
    const first = id === undefined ? undefined : await store.get(id).catch(cannot);
    if (id === undefined || first === undefined) return undefined;
    requireSameTarget(notification, first.notification, id as Id);
    return { scheduled: id, at: new Date(first.at).toISOString(), duplicate: true };
  }

  async #accept(notification: Notification, at: number, id: string): Promise<ScheduleReceipt> {
    const { store, keys } = this.#options;
    const { at: _at, ...rest } = notification;
    const { key } = notification;
    // First the key: nothing may wait that a publisher who tries again would not find.
    if (key !== undefined) await keys.put(key, id).catch(cannot);
    await store.put(id, { notification: rest, at }).catch(cannot);
    this.#checkAfter(at - this.#options.now());
    return { scheduled: id, at: new Date(at).toISOString(), duplicate: false };
  }

  async #take(id: string): Promise<boolean> {
    const { store, now } = this.#options;
    const found = await store.get(id);
    // What is due may be in the journal already: an append can seem to fail, and a node can die behind it.
    if (found === undefined || found.at <= now() || this.#leaving.has(id)) return false;
    this.#leaving.add(id);
    try {
      return await this.#remove(id, found);
    } finally {
      this.#leaving.delete(id);
    }
  }

  async #remove(id: string, { notification }: Scheduled): Promise<boolean> {
    const { store, keys } = this.#options;
    const [isRemoved] = await Promise.all([
      store.remove(id),
      notification.key === undefined ? undefined : keys.remove(notification.key),
    ]);
    return isRemoved;
  }

  /** Looks after so many milliseconds, but at least every second: other nodes accept, too, and clocks jump. */
  #checkAfter(milliseconds: number): void {
    if (this.#isStopped) return;
    const delay = Math.min(Math.max(0, milliseconds), CHECK_MS);
    const at = performance.now() + delay;
    if (at >= this.#checkAt) return;
    this.#checkAt = at;
    this.#cancelCheck?.();
    this.#cancelCheck = this.#options.after(delay, () => this.#checkNow());
  }

  #checkNow(): void {
    this.#checkAt = Number.POSITIVE_INFINITY;
    if (this.#checking !== undefined) {
      this.#isCheckDue = true;
      return;
    }
    this.#isCheckDue = false;
    this.#checking = this.#check()
      .catch(error => {
        this.#options.failed(error);
        return CHECK_MS;
      })
      .then(milliseconds => {
        this.#checking = undefined;
        this.#checkAfter(this.#isCheckDue ? 0 : milliseconds);
      });
  }

  /** Resolves to how many milliseconds later to look again. */
  async #check(): Promise<number> {
    const { store, lease, now } = this.#options;
    for (;;) {
      const [next] = await store.range('', END, 1);
      if (next === undefined) return CHECK_MS;
      this.#isUsed = true;
      // Else another node sends.
      if (this.#isStopped || !(await lease.hold())) return CHECK_MS;
      const left = next[1].at - now();
      if (left > 0) return left;
      if (!(await this.#send(await store.range('', sortableTime(now() + 1), GROUP)))) return CHECK_MS;
      await nextTurn();
    }
  }

  /** Sends these in order. Resolves to false if the journal does not take them now. */
  async #send(due: readonly [id: string, scheduled: Scheduled][]): Promise<boolean> {
    const leaving = due.filter(([id]) => !this.#leaving.has(id));
    for (const [id] of leaving) this.#leaving.add(id);
    const results = await Promise.allSettled(leaving.map(each => this.#sendOne(...each)));
    // Not before all of them have ended: nobody may take back what is still leaving.
    for (const [id] of leaving) this.#leaving.delete(id);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    return results.every(result => result.status === 'fulfilled' && result.value);
  }

  /** Resolves to false if the journal does not take it now. */
  async #sendOne(id: string, scheduled: Scheduled): Promise<boolean> {
    const { append, refused } = this.#options;
    const { notification } = scheduled;
    try {
      await append({ ...notification, key: notification.key ?? ownKey(id) });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.code === 'unavailable') return false;
      // It never will be taken.
      refused(error);
    }
    await this.#remove(id, scheduled);
    return true;
  }
}

/** Whether a text has the form of a schedule id. */
export function isScheduleId(text: string): boolean {
  return SCHEDULE_ID.test(text);
}

interface ScheduleOptions {
  /** The id of the first notification with the same key that was sent. May reject with a Problem. */
  readonly firstSent: (notification: Notification) => Promise<Id | undefined>;
  readonly store: Store<Scheduled>;
  /** The schedule ids by the keys of the publishers. */
  readonly keys: Store<string>;
  readonly lease: Lease;
  readonly cluster: Cluster;
  /** Puts a notification into the journal. Calls keep their order. */
  readonly append: (notification: Notification) => Promise<Id>;
  /** The journal's clock, in milliseconds since the epoch. */
  readonly now: () => number;
  readonly after: After;
  /** Told of a notification that will never be sent. */
  readonly refused: (problem: Problem) => void;
  /** Told of a store that fails. It is tried again. */
  readonly failed: (error: unknown) => void;
}

function cannot(cause: unknown): never {
  throw cannotNow(cause);
}

function cannotNow(cause?: unknown): Problem {
  return unavailable('What is to be sent later cannot be stored now; try again.', RETRY_AFTER_SECONDS, cause);
}
