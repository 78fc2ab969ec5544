import type { Clock } from '../model/clock.js';
import { Fifo } from '../model/fifo.js';
import { formatId, type Id, IdClock } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { unavailable } from '../model/problem.js';
import type { Retention } from '../model/retention.js';
import { memoryOf } from '../model/text.js';
import { requireSameTarget, type Target } from './key-reuse.js';
import type { Appended, Follower, Journal } from './journal.js';

// Memory of a key without its own texts: the rows of the tables, and the id.
const KEY_OVERHEAD_BYTES = 200;
const RETRY_AFTER_SECONDS = 1;

/**
 * Lives as long as the process. Keeps no entries, because the follower's window has them. Keeps only idempotency keys,
 * as long as the retention allows, in seconds and in bytes.
 */
export class MemoryJournal implements Journal {
  readonly kind = 'memory';
  readonly #retention: Retention;
  readonly #ids: IdClock;
  readonly #start: Id;
  readonly #firsts = new Map<string, First>();
  readonly #keys = new Fifo<{ readonly key: string; readonly time: number; readonly bytes: number }>();
  #keyBytes = 0;
  #follower: Follower | undefined;

  constructor(retention: Retention, clock: Clock) {
    const start = { time: clock.now(), sequence: 0 };
    this.#retention = retention;
    this.#ids = new IdClock(clock, start);
    this.#start = formatId(start);
  }

  async append(notification: Notification): Promise<Appended> {
    if (this.#follower === undefined) throw unavailable('The journal is not open.', RETRY_AFTER_SECONDS);
    const first = this.#firstWith(notification);
    if (first !== undefined) return { id: first.id, duplicate: true };
    const { key } = notification;
    const moment = this.#ids.next();
    const id = formatId(moment);
    if (key !== undefined) this.#remember(key, { id, ...notification }, moment.time);
    this.#follower.deliver({ ...moment, id, notification });
    return { id, duplicate: false };
  }

  async firstWith(notification: Notification): Promise<Id | undefined> {
    return this.#firstWith(notification)?.id;
  }

  async follow(follower: Follower): Promise<Id> {
    this.#follower = follower;
    return this.#start;
  }

  now(): number {
    return this.#ids.now();
  }

  async newest(): Promise<Id> {
    return formatId(this.#ids.last);
  }

  status() {
    return { available: this.#follower !== undefined, lagMs: 0 };
  }

  async close(): Promise<void> {
    this.#follower = undefined;
  }

  /** The first notification with the same key. Throws a Problem if that was another one. */
  #firstWith(notification: Notification): First | undefined {
    const { key } = notification;
    this.#trimKeys();
    const first = key === undefined ? undefined : this.#firsts.get(key);
    if (first !== undefined) requireSameTarget(notification, first, first.id);
    return first;
  }

  #remember(key: string, { id, addresses, event }: First, time: number): void {
    let bytes = KEY_OVERHEAD_BYTES + memoryOf(key) + memoryOf(event);
    for (const address of addresses) bytes += memoryOf(address);
    this.#firsts.set(key, { id, addresses, event });
    this.#keys.push({ key, time, bytes });
    this.#keyBytes += bytes;
  }

  #trimKeys(): void {
    const oldest = this.now() - this.#retention.seconds * 1000;
    for (;;) {
      const first = this.#keys.at(this.#keys.first);
      if (first === undefined || (first.time >= oldest && this.#keyBytes <= this.#retention.bytes)) return;
      this.#keys.shift();
      this.#firsts.delete(first.key);
      this.#keyBytes -= first.bytes;
    }
  }
}

/** The first notification with a key. */
interface First extends Target {
  readonly id: Id;
}
