import { isUtf8 } from 'node:buffer';
import { fieldsToJson } from '../model/form.js';
import { pause } from '../model/pause.js';
import { openRedis, type RedisClient, untilReady } from '../redis/client.js';
import { Lease } from '../redis/lease.js';
import { keepTrying } from './attempts.js';
import { sendToDeadLetters } from './dead-letters.js';
import type { Intake } from './intake.js';
import type { Message, Refused } from './message.js';
import type { Source, SourceSettings, SourceStatus } from './source.js';

// Entries read at once: so many as make about so many bytes, as far as the last ones tell.
const MAX_COUNT = 500;
const READ_BYTES = 4 * 1024 * 1024;
// A stop waits for it.
const BLOCK_MS = 250;
const PAUSE_MS = 500;
const LAG_INTERVAL_MS = 2000;
const COMMAND_TIMEOUT_MS = 10_000;
// Dead letters kept, about.
const MAX_DEAD = 10_000;
// All processes are one consumer, of which one reads at a time: what a dead one left pending is our own, and order is kept.
const CONSUMER = 'postroom';
const WHAT_FAILED = 'the Redis stream cannot be read';

type Fields = readonly Buffer[];
type Read = readonly [id: Buffer, fields: Fields | null];
type Replies = readonly (readonly [stream: Buffer, entries: readonly Read[]])[] | null;
type Entry = Message & { readonly id: string };

/**
 * A Redis stream, read as a consumer group: at least once, in order. An entry is acknowledged when the journal has
 * it. Its field `json` is the body, or its fields are those of the body. Dead letters: the stream `<stream>.dead`.
 */
export class RedisStreamSource implements Source {
  readonly #intake: Intake;
  readonly #redis: RedisClient;
  readonly #lease: Lease;
  readonly #stream: string;
  readonly #group: string;
  #connected = false;
  #lag: number | undefined;
  #count = 10;
  #reading: Promise<void> | undefined;
  #measuring: NodeJS.Timeout | undefined;

  constructor(settings: SourceSettings, intake: Intake) {
    const { REDIS_URL, REDIS_STREAM, REDIS_PREFIX } = settings;
    if (REDIS_URL === undefined || REDIS_STREAM === undefined)
      throw new Error('REDIS_STREAM needs REDIS_URL');
    this.#intake = intake;
    this.#stream = REDIS_STREAM;
    this.#group = REDIS_PREFIX;
    this.#redis = openRedis(
      REDIS_URL,
      `${REDIS_PREFIX}:redis-stream`,
      {
        ready: () => undefined,
        lost: error => this.#failed(error),
      },
      COMMAND_TIMEOUT_MS,
    );
    this.#lease = new Lease(this.#redis, `${REDIS_STREAM}:${REDIS_PREFIX}:reader`);
  }

  start(): void {
    this.#reading ??= keepTrying(this.#intake, WHAT_FAILED, () => this.#readAll());
  }

  async stop(): Promise<void> {
    this.#intake.stop();
    await this.#reading;
    await this.#lease.release().catch(error => this.#failed(error));
    this.#redis.disconnect();
    this.#connected = false;
  }

  status(): SourceStatus {
    return { connected: this.#connected, lag: this.#connected ? this.#lag : undefined };
  }

  #failed(error: unknown): void {
    this.#connected = false;
    this.#intake.failed(WHAT_FAILED, error);
  }

  /** Reads until something goes wrong or the server stops. */
  async #readAll(): Promise<void> {
    const { stopping } = this.#intake;
    await untilReady(this.#redis, stopping);
    if (stopping.aborted) return;
    try {
      await this.#makeGroup();
      this.#intake.recovered(`reading the Redis stream ${this.#stream}`);
      this.#measuring = setInterval(() => void this.#measureLag(), LAG_INTERVAL_MS);
      await this.#measureLag();
      while (!stopping.aborted) {
        const isOurs = await this.#lease.hold();
        // The connection may have been lost and be back without a command that failed.
        this.#connected = true;
        if (isOurs) await this.#readWhileHeld();
        else await pause(PAUSE_MS, stopping);
      }
    } catch (error) {
      // It may have been more than comes in time.
      this.#count = Math.ceil(this.#count / 2);
      throw error;
    } finally {
      clearInterval(this.#measuring);
      this.#connected = false;
    }
  }

  /** First what was read before and not acknowledged, by whomever; then what is new. */
  async #readWhileHeld(): Promise<void> {
    let from = '0';
    while (!this.#intake.stopping.aborted && (await this.#lease.hold())) {
      const entries = await this.#next(from);
      this.#connected = true;
      await this.#take(entries);
      if (from !== '>') from = entries.at(-1)?.[0].toString() ?? '>';
    }
  }

  async #next(from: string): Promise<readonly Read[]> {
    const replies = (await this.#redis.xreadgroupBuffer(
      'GROUP',
      this.#group,
      CONSUMER,
      'COUNT',
      this.#count,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      this.#stream,
      from,
    )) as Replies;
    const entries = replies?.[0]?.[1] ?? [];
    this.#adapt(entries);
    return entries;
  }

  #adapt(entries: readonly Read[]): void {
    const bytes = entries.reduce(
      (sum, [, fields]) => sum + (fields ?? []).reduce((all, { length }) => all + length, 0),
      0,
    );
    const fitting = Math.floor((entries.length * READ_BYTES) / Math.max(bytes, 1));
    if (entries.length > 0) this.#count = Math.max(1, Math.min(fitting, 2 * this.#count, MAX_COUNT));
  }

  async #take(entries: readonly Read[]): Promise<void> {
    if (entries.length === 0) return;
    const messages = entries.flatMap(([id, fields]) =>
      fields === null ? [] : [this.#messageOf(String(id), fields)],
    );
    if (messages.length < entries.length)
      this.#intake.warn('entries were trimmed from the Redis stream before they were taken');
    const refused = await this.#intake.take(messages);
    await sendToDeadLetters(
      this.#intake,
      refused,
      deadLetter => this.#sendDeadLetter(deadLetter),
      () => false,
    );
    await this.#redis.xack(this.#stream, this.#group, ...entries.map(([id]) => id));
  }

  async #sendDeadLetter({ body, reason, message }: Refused<Entry>): Promise<void> {
    const fields = ['json', body, 'reason', reason, 'id', message.id];
    await this.#redis.xadd(`${this.#stream}.dead`, 'MAXLEN', '~', MAX_DEAD, '*', ...fields);
  }

  /** The body is the field `json`, or what the fields say. */
  #messageOf(id: string, fields: Fields): Entry {
    const key = `${this.#stream}:${id}`;
    const json = pairsOf(fields).find(([name]) => String(name) === 'json')?.[1];
    if (json !== undefined) return { id, key, body: json };
    // The validator says what is wrong with it.
    if (!fields.every(isUtf8)) return { id, key, body: Buffer.concat(fields) };
    const pairs = pairsOf(fields.map(String));
    return { id, key, body: JSON.stringify(Object.fromEntries(pairs)), translate: () => fieldsToJson(pairs) };
  }

  async #makeGroup(): Promise<void> {
    try {
      // From the beginning: what was added before we came for the first time is taken too.
      await this.#redis.xgroup('CREATE', this.#stream, this.#group, '0', 'MKSTREAM');
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('BUSYGROUP')) throw error;
    }
  }

  async #measureLag(): Promise<void> {
    const reply = await this.#redis.xinfo('GROUPS', this.#stream).catch(() => []);
    // It is a figure only: what is wrong is told by what reads.
    const groups = reply as readonly (readonly unknown[])[];
    const group = groups
      .map(fields => new Map(pairsOf(fields)))
      .find(fields => fields.get('name') === this.#group);
    // Redis before 7 does not tell, nor does any where entries were deleted from the middle.
    const lag = group?.get('lag');
    this.#lag = typeof lag === 'number' ? lag + Number(group?.get('pending')) : undefined;
  }
}

function pairsOf<T>(flat: readonly T[]): [name: T, value: T][] {
  const pairs: [T, T][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] as T, flat[at + 1] as T]);
  return pairs;
}
