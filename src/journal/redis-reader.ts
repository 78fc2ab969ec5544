import type { Logger } from 'pino';
import { compareMoments } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { pause } from '../model/pause.js';
import { reasonOf } from '../model/reason.js';
import { nextTurn } from '../model/turns.js';
import { type RedisClient, untilReady } from '../redis/client.js';
import { deliver } from './deliver.js';
import type { Follower } from './journal.js';
import { entryOf, type Fields, type IdMoment, type StreamEntry } from './redis-entry.js';

const BLOCK_MS = 1000;
const PAUSE_MS = 100;
const PAGE = 500;

type Reply = readonly (readonly [id: string, fields: Fields])[];

export interface RedisReaderOptions {
  /** A connection of its own, because its reads block. */
  readonly redis: RedisClient;
  /** The stream. */
  readonly key: string;
  /** The notification of an entry of this node, if it is still in memory: then it need not be unpacked. */
  readonly ownOf: (entry: StreamEntry) => Notification | undefined;
  /** Called for each read that fails. The read is tried again. */
  readonly failed: (error: unknown) => void;
  readonly log: Logger;
}

/** Reads the stream in order and delivers each entry once. If its connection breaks, it goes on where it stopped. */
export class RedisReader {
  readonly #options: RedisReaderOptions;
  #follower: Follower | undefined;
  #last: IdMoment = { id: '0-0', time: 0, sequence: 0 };
  /** The id of the newest entry read, delivered or skipped. */
  #position = '0-0';
  #failingSince: number | undefined;
  #isFollowing = false;

  constructor(options: RedisReaderOptions) {
    this.#options = options;
  }

  /** The newest entry delivered. */
  get last(): IdMoment {
    return this.#last;
  }

  /** Since when reading fails, in milliseconds of `performance.now`; undefined while it works. */
  get failingSince(): number | undefined {
    return this.#failingSince;
  }

  /**
   * Delivers the past. Returns the number of its entries. Rejects if Redis fails; then it may be called again.
   * @param floor the past begins after this id
   */
  async load(follower: Follower, floor: IdMoment): Promise<number> {
    const { redis, key } = this.#options;
    this.#follower = follower;
    if (compareMoments(floor, this.#last) > 0) {
      this.#last = floor;
      this.#position = floor.id;
    }
    for (let loaded = 0; ; ) {
      const page = (await redis.xrange(key, `(${this.#position}`, '+', 'COUNT', PAGE)) as Reply;
      for (const [id, fields] of page) this.#take(id, fields);
      loaded += page.length;
      if (page.length < PAGE) return loaded;
      await nextTurn();
    }
  }

  /** Delivers new entries until the signal is aborted. */
  async follow(signal: AbortSignal): Promise<void> {
    this.#isFollowing = true;
    for (;;) {
      await untilReady(this.#options.redis, signal);
      if (signal.aborted) return;
      try {
        await this.#readNext();
        this.#failingSince = undefined;
      } catch (error) {
        this.#failingSince ??= performance.now();
        this.#options.failed(error);
        await pause(PAUSE_MS, signal);
      }
    }
  }

  async #readNext(): Promise<void> {
    const { redis, key } = this.#options;
    const replies = await redis.xread('COUNT', PAGE, 'BLOCK', BLOCK_MS, 'STREAMS', key, this.#position);
    for (const [id, fields] of (replies?.[0]?.[1] ?? []) as Reply) this.#take(id, fields);
    // Asks again after this turn's writes. Then Redis has all entries that came meanwhile: fewer, larger turns.
    await nextTurn();
  }

  /** Delivers the next entry. */
  #take(id: string, fields: Fields): void {
    const entry = this.#read(id, fields);
    if (entry === undefined) return;
    const { time, sequence, previous, node } = entry;
    if (previous.id !== this.#last.id) this.#passOver(previous);
    this.#last = entry;
    this.#position = id;
    const notification = this.#options.ownOf(entry) ?? entry.notification;
    deliver(this.#follower, { id: entry.id, time, sequence, node, notification }, this.#options.log);
  }

  /** Undefined for an entry that another program put into our stream. It is skipped. */
  #read(id: string, fields: Fields): StreamEntry | undefined {
    try {
      return entryOf(id, fields);
    } catch (error) {
      this.#position = id;
      this.#options.log.error(
        { id, reason: reasonOf(error) },
        'the Redis journal has an entry that is none of ours',
      );
      return undefined;
    }
  }

  /** If `previous` is newer than our last entry, the entries between are missing. */
  #passOver(previous: IdMoment): void {
    // Redis may have forgotten entries that were delivered here.
    if (compareMoments(previous, this.#last) <= 0) return;
    if (this.#isFollowing)
      this.#options.log.error(
        { after: this.#last.id, until: previous.id },
        'this node was away for longer than the retention; its clients have to load their state anew',
      );
    this.#follower?.skipped(previous.id);
  }
}
