import { Fifo } from '../model/fifo.js';
import { formatId, type Id, IdClock } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { unavailable } from '../model/problem.js';
import type { Retention } from '../model/retention.js';
import type { Appended, Follower, Journal } from './journal.js';

// What a key takes beside its own text: the tables' places and the id.
const KEY_OVERHEAD_BYTES = 200;
const RETRY_AFTER_SECONDS = 1;

/**
 * Lives as long as the process. Keeps no entries of its own, since the follower's window has them; what
 * it keeps are the idempotency keys, as long as the retention allows, in seconds and in bytes.
 */
export class MemoryJournal implements Journal {
  readonly kind = 'memory';
  readonly #retention: Retention;
  readonly #now: () => number;
  readonly #ids: IdClock;
  readonly #start: Id;
  readonly #firstIds = new Map<string, Id>();
  readonly #keys = new Fifo<{ key: string; time: number }>();
  #keyBytes = 0;
  #follower: Follower | undefined;

  /** @param now milliseconds since the epoch */
  constructor(retention: Retention, now: () => number) {
    const start = { time: now(), sequence: 0 };
    this.#retention = retention;
    this.#now = now;
    this.#ids = new IdClock(now, start);
    this.#start = formatId(start);
  }

  async append(notification: Notification): Promise<Appended> {
    if (this.#follower === undefined) throw unavailable('The journal is not open.', RETRY_AFTER_SECONDS);
    const { key } = notification;
    this.#trimKeys();
    const first = key === undefined ? undefined : this.#firstIds.get(key);
    if (first !== undefined) return { id: first, duplicate: true, connections: 0, partial: false };
    const moment = this.#ids.next();
    const id = formatId(moment);
    if (key !== undefined) this.#remember(key, id, moment.time);
    const connections = this.#follower.deliver({ ...moment, id, notification });
    return { id, duplicate: false, connections, partial: false };
  }

  async follow(follower: Follower): Promise<Id> {
    this.#follower = follower;
    return this.#start;
  }

  status() {
    return { available: this.#follower !== undefined, lagMs: 0 };
  }

  async close(): Promise<void> {
    this.#follower = undefined;
  }

  #remember(key: string, id: Id, time: number): void {
    this.#firstIds.set(key, id);
    this.#keys.push({ key, time });
    this.#keyBytes += key.length + KEY_OVERHEAD_BYTES;
  }

  #trimKeys(): void {
    const oldest = this.#now() - this.#retention.seconds * 1000;
    for (;;) {
      const first = this.#keys.at(this.#keys.first);
      if (first === undefined || (first.time >= oldest && this.#keyBytes <= this.#retention.bytes)) return;
      this.#keys.shift();
      this.#firstIds.delete(first.key);
      this.#keyBytes -= first.key.length + KEY_OVERHEAD_BYTES;
    }
  }
}
