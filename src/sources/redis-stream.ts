import { fieldsToJson } from '../model/form.js';
import { pause } from '../model/pause.js';
import { openRedis, type RedisClient, untilReady } from '../redis/client.js';
import { Lease } from '../redis/lease.js';
import { keepTrying } from './attempts.js';
import type { Intake, Message } from './intake.js';
import type { Source, SourceSettings, SourceStatus } from './source.js';

const COUNT = 500;
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
type Entry = readonly [id: Buffer, fields: Fields | null];
type Replies = readonly (readonly [stream: Buffer, entries: readonly Entry[]])[] | null;

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
  #lagAt = 0;
  #reading: Promise<void> | undefined;

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
    if (!this.#intake.stopping.aborted) this.#intake.failed(WHAT_FAILED, error);
  }

  /** Reads until something goes wrong or the server stops. */
  async #readAll(): Promise<void> {
    const { stopping } = this.#intake;
    await untilReady(this.#redis, stopping);
    if (stopping.aborted) return;
    try {
      await this.#makeGroup();
      this.#intake.recovered('reading the Redis stream');
      while (!stopping.aborted) {
        await this.#measureLag();
        const isOurs = await this.#lease.hold();
        // The connection may have been lost and be back without a command that failed.
        this.#connected = true;
        if (isOurs) await this.#readWhileHeld();
        else await pause(PAUSE_MS, stopping);
      }
    } finally {
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
      await this.#measureLag();
    }
  }

  async #next(from: string): Promise<readonly Entry[]> {
    const replies = (await this.#redis.xreadgroupBuffer(
      'GROUP',
      this.#group,
      CONSUMER,
      'COUNT',
      COUNT,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      this.#stream,
      from,
    )) as Replies;
    return replies?.[0]?.[1] ?? [];
  }

  async #take(entries: readonly Entry[]): Promise<void> {
    if (entries.length === 0) return;
    const messages = entries.flatMap(([id, fields]) =>
      fields === null ? [] : [this.#messageOf(String(id), fields)],
    );
    if (messages.length < entries.length)
      this.#intake.warn('entries were trimmed from the Redis stream before they were taken');
    for (const { body, reason, message } of await this.#intake.take(messages)) {
      const fields = ['json', body, 'reason', reason, 'id', message.id];
      await this.#redis.xadd(`${this.#stream}.dead`, 'MAXLEN', '~', MAX_DEAD, '*', ...fields);
    }
    await this.#redis.xack(this.#stream, this.#group, ...entries.map(([id]) => id));
  }

  /** The body is the field `json`, or what the fields say. */
  #messageOf(id: string, fields: Fields): Message & { id: string } {
    const key = `${this.#stream}:${id}`;
    const json = pairsOf(fields).find(([name]) => String(name) === 'json')?.[1];
    if (json !== undefined) return { id, key, body: json };
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
    const now = performance.now();
    if (now < this.#lagAt) return;
    this.#lagAt = now + LAG_INTERVAL_MS;
    const groups = (await this.#redis.xinfo('GROUPS', this.#stream)) as readonly (readonly unknown[])[];
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
