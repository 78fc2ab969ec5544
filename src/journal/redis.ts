import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { unpack, weigh } from '../model/notification-codec.js';
import { compareMoments, type Id } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { pause, waitBriefly } from '../model/pause.js';
import { type Problem, unavailable } from '../model/problem.js';
import { reasonOf } from '../model/reason.js';
import type { Retention } from '../model/retention.js';
import { StartError } from '../model/start-error.js';
import { openRedis, type RedisClient, untilReady } from '../redis/client.js';
import { GroupCommit } from '../storage/group-commit.js';
import { requireSameTarget } from './key-reuse.js';
import type { Appended, Follower, Journal, JournalStatus } from './journal.js';
import { idMoment, packed, type StreamEntry } from './redis-entry.js';
import { RedisReader } from './redis-reader.js';
import { APPEND, FIRST, MAINTAIN } from './redis-scripts.js';

const MAINTAIN_MS = 1000;
// An append that is not answered in this time is refused.
const COMMAND_TIMEOUT_MS = 2000;
// A node that has failed to read for so long refuses notifications.
const DEAF_MS = 3000;
// When it closes, it waits at most so long until the entries of this node are delivered.
const DELIVERY_MS = 250;
const PAUSE_MS = 100;
// The most entries and bytes of one call: Redis does nothing else meanwhile.
const MAX_GROUP = 256;
const MAX_GROUP_BYTES = 512 * 1024;
const RETRY_AFTER_SECONDS = 2;
const APPEND_SHA = createHash('sha1').update(APPEND).digest('hex');

export interface RedisJournalOptions {
  readonly url: string;
  /** Its keys begin with this. Nodes with the same prefix share the journal. */
  readonly prefix: string;
  readonly retention: Retention;
  /** This node's name. */
  readonly node: string;
  /** Aborted when the server stops, even while it still waits for Redis. */
  readonly stopping: AbortSignal;
  readonly log: Logger;
}

/** A notification to append, with this node's number for it. */
interface Item {
  readonly number: number;
  readonly notification: Notification;
}

/** The answer of Redis for one item. */
interface Result {
  readonly id: Id;
  /** The fields of the first entry with the same key; undefined if there is none. */
  readonly first: string | undefined;
}

/**
 * A Redis stream that many nodes follow: all deliver all entries, in the same order. Redis gives the ids. As durable as
 * Redis is set to be.
 */
export class RedisJournal implements Journal {
  readonly kind = 'redis';
  readonly #options: RedisJournalOptions;
  readonly #keys: readonly [entries: string, keys: string, state: string];
  /** Entries are kept for so many milliseconds, and up to so many bytes. */
  readonly #limits: readonly [milliseconds: number, bytes: number];
  readonly #commands: RedisClient;
  /** Separate from the commands, because its reads block. */
  readonly #reading: RedisClient;
  readonly #reader: RedisReader;
  readonly #commits: GroupCommit<Item, Result>;
  readonly #closing = new AbortController();
  /** Notifications that this node has appended and not delivered yet, by its numbers. */
  readonly #own = new Map<number, Notification>();
  #numbers = 0;
  #onOwnDelivered: (() => void) | undefined;
  #available = false;
  /** The journal's time, and when Redis reported it, in milliseconds of `performance.now`. */
  #clock = { time: 0, heard: 0 };
  #time = 0;
  #asking: Promise<Id> | undefined;
  #lagMs = 0;
  /** Since when there are newer entries than those delivered, in milliseconds of `performance.now`. */
  #behindSince: number | undefined;
  #isInTrouble = false;
  #maintaining: Promise<void> | undefined;
  #following: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: RedisJournalOptions) {
    const { url, prefix, retention, log } = options;
    this.#options = options;
    this.#keys = [`{${prefix}}:journal:entries`, `{${prefix}}:journal:keys`, `{${prefix}}:journal:state`];
    this.#limits = [retention.seconds * 1000, retention.bytes];
    const ready = () => undefined;
    const failed = (error: unknown) => this.#failed(error);
    const refuse = (error: unknown) => this.#refuse(error);
    this.#commands = openRedis(url, `${prefix}:journal`, { ready, lost: refuse }, COMMAND_TIMEOUT_MS);
    this.#reading = openRedis(url, `${prefix}:journal:reader`, { ready, lost: failed });
    const ownOf = (entry: StreamEntry) => this.#takeOwn(entry);
    this.#reader = new RedisReader({ redis: this.#reading, key: this.#keys[0], ownOf, failed, log });
    this.#commits = new GroupCommit({
      maxItems: MAX_GROUP,
      maxBytes: MAX_GROUP_BYTES,
      commit: items => this.#commit(items),
    });
  }

  async append(notification: Notification): Promise<Appended> {
    if (!this.#takes) throw refusal();
    const number = this.#numbers++;
    this.#own.set(number, notification);
    let isAdded = false;
    try {
      const { id, first } = await this.#commits.add({ number, notification }, weigh(notification));
      isAdded = first === undefined;
      if (first !== undefined) requireSameTarget(notification, unpack(first, '', ''), id);
      return { id, duplicate: !isAdded };
    } finally {
      if (!isAdded) this.#own.delete(number);
    }
  }

  async firstWith(notification: Notification): Promise<Id | undefined> {
    const { key } = notification;
    if (key === undefined) return undefined;
    const reply = await this.#commands.eval(FIRST, this.#keys.length, ...this.#keys, key).catch(error => {
      throw refusal(error);
    });
    const [id = '', fields = ''] = Array.isArray(reply) ? reply.map(String) : [];
    if (id === '') return undefined;
    requireSameTarget(notification, unpack(fields, '', ''), id as Id);
    return id as Id;
  }

  async follow(follower: Follower): Promise<Id> {
    const started = performance.now();
    const floor = await this.#insist(() => this.#maintain());
    const skipped = (until: Id) => {
      this.#own.clear();
      follower.skipped(until);
    };
    const ours: Follower = { deliver: entry => follower.deliver(entry), skipped };
    const loaded = await this.#insist(() => this.#reader.load(ours, idMoment(floor)));
    this.#following = this.#reader.follow(this.#closing.signal);
    this.#maintaining = this.#keepMaintaining();
    this.#available = true;
    const milliseconds = Math.round(performance.now() - started);
    this.#options.log.info({ entries: loaded, milliseconds }, 'journal loaded');
    return floor;
  }

  now(): number {
    const { time, heard } = this.#clock;
    this.#time = Math.max(this.#time, Math.floor(time + performance.now() - heard));
    return this.#time;
  }

  newest(): Promise<Id> {
    const [, , state] = this.#keys;
    this.#asking ??= this.#commands
      .hget(state, 'last')
      .then(last => idMoment(last ?? '0-0').id)
      .finally(() => {
        this.#asking = undefined;
      });
    return this.#asking;
  }

  status(): JournalStatus {
    return { available: this.#takes, lagMs: this.#lagMs };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Whether it takes notifications: not while this node cannot read, because its clients would not hear them. */
  get #takes(): boolean {
    const { failingSince } = this.#reader;
    const isDeaf = failingSince !== undefined && performance.now() - failingSince > DEAF_MS;
    return this.#available && !isDeaf;
  }

  async #close(): Promise<void> {
    this.#available = false;
    await this.#commits.idle();
    if (this.#own.size > 0 && this.#following !== undefined) {
      const delivered = new Promise<void>(resolve => {
        this.#onOwnDelivered = resolve;
      });
      await waitBriefly(delivered, DELIVERY_MS);
    }
    this.#closing.abort();
    // It only reads: nobody needs its answer.
    this.#reading.disconnect();
    await Promise.all([this.#maintaining, this.#following]);
    this.#commands.disconnect();
  }

  #takeOwn(entry: StreamEntry): Notification | undefined {
    if (entry.node !== this.#options.node) return undefined;
    const notification = this.#own.get(entry.number);
    // Also those before it, which can be lost in a failover of Redis.
    for (const number of this.#own.keys()) {
      if (number > entry.number) break;
      this.#own.delete(number);
    }
    if (this.#own.size === 0) this.#onOwnDelivered?.();
    return notification;
  }

  /** Refuses notifications until `#maintain` works again. */
  #refuse(error: unknown): void {
    this.#available = false;
    this.#failed(error);
  }

  #failed(error: unknown): void {
    if (this.#closing.signal.aborted) return;
    // Two connections notice an outage; it is logged once.
    if (this.#isInTrouble) return;
    this.#isInTrouble = true;
    this.#options.log.error(
      { reason: reasonOf(error) },
      'the journal cannot use Redis; what comes is refused until it can',
    );
  }

  /** Does a task of the start, as soon as Redis is there, however long that takes. */
  async #insist<T>(task: () => Promise<T>): Promise<T> {
    const { stopping } = this.#options;
    for (;;) {
      await untilReady(this.#commands, stopping);
      await untilReady(this.#reading, stopping);
      if (stopping.aborted) throw new StartError('Postroom was told to stop while it waited for Redis.');
      try {
        return await task();
      } catch (error) {
        this.#failed(error);
        await pause(PAUSE_MS, stopping);
      }
    }
  }

  async #commit(items: readonly Item[]): Promise<Result[]> {
    const packedItems = items.flatMap(({ number, notification }) => packed(number, notification));
    try {
      const all = [this.#options.node, ...this.#limits, ...packedItems];
      const reply = await this.#commands.evalsha(APPEND_SHA, this.#keys.length, ...this.#keys, ...all);
      if (!Array.isArray(reply)) throw new Error('Redis did not answer with a list');
      return items.map((_, index) => ({
        id: idMoment(String(reply[3 * index])).id,
        first: reply[3 * index + 1] === 1 ? String(reply[3 * index + 2]) : undefined,
      }));
    } catch (error) {
      this.#refuse(error);
      throw refusal(error);
    }
  }

  /** Loads the script first: loading it later could reorder appends. */
  async #loadScript(): Promise<void> {
    await this.#commands.eval(APPEND, this.#keys.length, ...this.#keys, this.#options.node, ...this.#limits);
  }

  async #keepMaintaining(): Promise<void> {
    const { signal } = this.#closing;
    for (;;) {
      await pause(MAINTAIN_MS, signal);
      if (signal.aborted) return;
      try {
        await this.#maintain();
        if (this.#closed !== undefined) return;
        if (this.#isInTrouble && this.#reader.failingSince === undefined) {
          this.#isInTrouble = false;
          this.#options.log.info('the journal can use Redis again');
        }
        this.#available = true;
      } catch (error) {
        this.#refuse(error);
      }
    }
  }

  /** Trims, and asks for the journal's time and for how far this node is behind. Returns the newest trimmed id. */
  async #maintain(): Promise<Id> {
    if (!this.#available) await this.#loadScript();
    const { last } = this.#reader;
    const args = [...this.#limits, last.id, this.now()];
    const reply = await this.#commands.eval(MAINTAIN, this.#keys.length, ...this.#keys, ...args);
    if (!Array.isArray(reply)) throw new Error('Redis did not answer with a list');
    const [newest = '', floor = '', time] = reply.map(String);
    this.#clock = { time: Number(time), heard: performance.now() };
    const isBehind = this.#following !== undefined && compareMoments(idMoment(newest), this.#reader.last) > 0;
    const now = performance.now();
    this.#behindSince = isBehind ? (this.#behindSince ?? now) : undefined;
    this.#lagMs = this.#behindSince === undefined ? 0 : Math.round(now - this.#behindSince);
    return idMoment(floor).id;
  }
}

function refusal(cause?: unknown): Problem {
  return unavailable(
    'The journal cannot take it now: Redis is not reached. Try again with the same key.',
    RETRY_AFTER_SECONDS,
    cause,
  );
}
