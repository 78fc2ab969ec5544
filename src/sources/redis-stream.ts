import { isUtf8 } from 'node:buffer';
import { fieldsToJson } from '../model/form.js';
import { pause } from '../model/pause.js';
import { openRedis, type RedisClient, untilReady } from '../redis/client.js';
import { Lease } from '../redis/lease.js';
import { keepTrying } from './attempts.js';
import { sendToDeadLetters } from './dead-letters.js';
import type { Intake } from './intake.js';
import { watchLag } from './lag.js';
import type { Message, Refused } from './message.js';
import type { Source, SourceSettings, SourceStatus } from './source.js';

// The most entries that one read takes.
const MAX_COUNT = 500;
// One read takes as many entries as have about so many bytes. The entries before show how large an entry is.
const READ_BYTES = 4 * 1024 * 1024;
// A stop waits for the read under way.
const BLOCK_MS = 250;
const PAUSE_MS = 500;
const COMMAND_TIMEOUT_MS = 10_000;
// Redis keeps about so many dead letters.
const MAX_DEAD = 10_000;
// All processes are the same consumer, and one of them reads at a time. So each of them gets the entries that a dead
// process has left pending, and the order is kept.
const CONSUMER = 'postroom';
const WHAT_FAILED = 'the Redis stream cannot be read';

type Fields = readonly Buffer[];
/** An entry without fields was trimmed from the stream. */
type StreamEntry = readonly [id: Buffer, fields: Fields | null];
type Replies = readonly (readonly [stream: Buffer, entries: readonly StreamEntry[]])[] | null;
type EntryMessage = Message & { readonly id: string };

/**
 * A Redis stream, read as a consumer group: at least once, in order. An entry is acknowledged when the journal has it.
 * The body is the field `json`, or the fields of the entry are those of the body. Dead letters: the stream
 * `<stream>.dead`.
 */
export class RedisStreamSource implements Source {
  readonly #intake: Intake;
  readonly #redis: RedisClient;
  readonly #lease: Lease;
  readonly #stream: string;
  readonly #group: string;
  #connected = false;
  #lag: number | undefined;
  /** How many entries the next read takes. */
  #count = 10;
  #working: Promise<void> | undefined;

  constructor(settings: SourceSettings, intake: Intake) {
    const { REDIS_URL, REDIS_STREAM, REDIS_PREFIX } = settings;
    if (REDIS_URL === undefined || REDIS_STREAM === undefined)
      throw new Error('REDIS_STREAM needs REDIS_URL');
    this.#intake = intake;
    this.#stream = REDIS_STREAM;
    this.#group = REDIS_PREFIX;
    const events = { ready: () => undefined, lost: (error: unknown) => this.#failed(error) };
    this.#redis = openRedis(REDIS_URL, `${REDIS_PREFIX}:redis-stream`, events, COMMAND_TIMEOUT_MS);
    this.#lease = new Lease(this.#redis, `${REDIS_STREAM}:${REDIS_PREFIX}:reader`);
  }

  start(): void {
    this.#working ??= keepTrying(this.#intake, WHAT_FAILED, () => this.#read());
  }

  async stop(): Promise<void> {
    this.#intake.stop();
    await this.#working;
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
  async #read(): Promise<void> {
    const { stopping } = this.#intake;
    await untilReady(this.#redis, stopping);
    if (stopping.aborted) return;
    const measuring = new AbortController();
    try {
      await this.#makeGroup();
      this.#intake.recovered(`reading the Redis stream ${this.#stream}`);
      await watchLag(() => this.#measureLag(), measuring.signal);
      while (!stopping.aborted) {
        const isOurs = await this.#lease.hold();
        // A connection can be lost and come back while no command is under way: then no command fails.
        this.#connected = true;
        if (isOurs) await this.#readWhileHeld();
        else await pause(PAUSE_MS, stopping);
      }
    } catch (error) {
      // The answer may have been too large to come in time.
      this.#count = Math.ceil(this.#count / 2);
      throw error;
    } finally {
      measuring.abort();
      this.#connected = false;
    }
  }

  /** Reads the pending entries first: this process, or one before it, has read but not acknowledged them. */
  async #readWhileHeld(): Promise<void> {
    let from = '0';
    while (!this.#intake.stopping.aborted && (await this.#lease.hold())) {
      const entries = await this.#next(from);
      this.#connected = true;
      await this.#take(entries);
      if (from !== '>') from = entries.at(-1)?.[0].toString() ?? '>';
    }
  }

  /** @param from the id that the pending entries come after, or `>` for new entries */
  async #next(from: string): Promise<readonly StreamEntry[]> {
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

  /** Adapts the size of the next read to the size of these entries. */
  #adapt(entries: readonly StreamEntry[]): void {
    if (entries.length === 0) return;
    const bytes = entries.flatMap(([, fields]) => fields ?? []).reduce((sum, { length }) => sum + length, 0);
    const fitting = Math.floor((entries.length * READ_BYTES) / Math.max(bytes, 1));
    this.#count = Math.max(1, Math.min(fitting, 2 * this.#count, MAX_COUNT));
  }

  async #take(entries: readonly StreamEntry[]): Promise<void> {
    if (entries.length === 0) return;
    const messages = entries.flatMap(([id, fields]) =>
      fields === null ? [] : [this.#messageOf(String(id), fields)],
    );
    if (messages.length < entries.length)
      this.#intake.warn('entries were trimmed from the Redis stream before they were taken');
    const refused = await this.#intake.take(messages);
    await sendToDeadLetters(this.#intake, refused, deadLetter => this.#sendDeadLetter(deadLetter));
    await this.#redis.xack(this.#stream, this.#group, ...entries.map(([id]) => id));
  }

  async #sendDeadLetter({ body, reason, message }: Refused<EntryMessage>): Promise<void> {
    const fields = ['json', body, 'reason', reason, 'id', message.id];
    await this.#redis.xadd(`${this.#stream}.dead`, 'MAXLEN', '~', MAX_DEAD, '*', ...fields);
  }

  #messageOf(id: string, fields: Fields): EntryMessage {
    const key = `${this.#stream}:${id}`;
    const json = pairsOf(fields).find(([name]) => String(name) === 'json')?.[1];
    if (json !== undefined) return { id, key, body: json };
    // The intake refuses this body with the reason that it is not UTF-8.
    if (!fields.every(isUtf8)) return { id, key, body: Buffer.concat(fields) };
    const pairs = pairsOf(fields.map(String));
    return { id, key, body: JSON.stringify(Object.fromEntries(pairs)), translate: () => fieldsToJson(pairs) };
  }

  async #makeGroup(): Promise<void> {
    try {
      // The group starts at the beginning: it also takes entries that are older than the group.
      await this.#redis.xgroup('CREATE', this.#stream, this.#group, '0', 'MKSTREAM');
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('BUSYGROUP')) throw error;
    }
  }

  async #measureLag(): Promise<void> {
    // The reading loop meets the same fault and reports it.
    const reply = await this.#redis.xinfo('GROUPS', this.#stream).catch(() => []);
    const groups = reply as readonly (readonly unknown[])[];
    const group = groups
      .map(fields => new Map(pairsOf(fields)))
      .find(fields => fields.get('name') === this.#group);
    // Redis before 7 has no `lag`. Newer ones have none either after entries were deleted from the middle.
    const lag = group?.get('lag');
    this.#lag = typeof lag === 'number' ? lag + Number(group?.get('pending')) : undefined;
  }
}

function pairsOf<T>(flat: readonly T[]): [name: T, value: T][] {
  const pairs: [T, T][] = [];
  for (let index = 0; index + 1 < flat.length; index += 2)
    pairs.push([flat[index] as T, flat[index + 1] as T]);
  return pairs;
}
