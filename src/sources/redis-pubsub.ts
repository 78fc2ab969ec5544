import { isConnectionId } from '../model/address.js';
import { memberText } from '../model/json.js';
import { pause } from '../model/pause.js';
import { openRedis, type RedisClient } from '../redis/client.js';
import { Lease } from '../redis/lease.js';
import { Batcher } from './batcher.js';
import { type Intake, Stopped } from './intake.js';
import type { Message } from './message.js';
import type { Source, SourceSettings, SourceStatus } from './source.js';

// Nothing holds a publisher on Pub/Sub back: what waits for the journal beyond this is dropped, and counted.
const MAX_WAITING = 20_000;
const MAX_WAITING_BYTES = 32 * 1024 * 1024;
const CHECK_MS = 1000;
const LARAVEL_FIELDS = ['event', 'data', 'socket'];
const IS_PATTERN = /[*?[]/;

/**
 * Redis Pub/Sub: at most once, for Redis keeps nothing for those who are not there. A message is our JSON, or what
 * Laravel broadcasts: that goes to the room which is named like its channel.
 */
export class RedisPubSubSource implements Source {
  readonly #intake: Intake;
  readonly #redis: RedisClient;
  readonly #channels: readonly string[];
  readonly #patterns: readonly string[];
  readonly #prefix: string;
  /** Of nodes that share a journal one listens, for each would publish the same. */
  readonly #turn: { readonly redis: RedisClient; readonly lease: Lease } | undefined;
  readonly #waiting = new Batcher<Message>(messages => this.#take(messages));
  #waitingBytes = 0;
  #dropped = 0;
  #ready = false;
  #isSubscribed = false;
  #isStandby = false;
  #checking: Promise<void> | undefined;
  #working: Promise<void> | undefined;

  constructor(settings: SourceSettings, intake: Intake) {
    const { REDIS_URL, REDIS_PREFIX, REDIS_CHANNELS, REDIS_CHANNEL_PREFIX, sharedJournal } = settings;
    if (REDIS_URL === undefined) throw new Error('REDIS_CHANNELS needs REDIS_URL');
    this.#intake = intake;
    this.#channels = REDIS_CHANNELS.filter(channel => !IS_PATTERN.test(channel));
    this.#patterns = REDIS_CHANNELS.filter(channel => IS_PATTERN.test(channel));
    this.#prefix = REDIS_CHANNEL_PREFIX;
    const name = `${REDIS_PREFIX}:redis-pubsub`;
    this.#redis = openRedis(REDIS_URL, name, {
      ready: () => {
        this.#ready = true;
        void this.#check();
      },
      lost: error => {
        this.#ready = false;
        this.#isSubscribed = false;
        this.#failed(error);
      },
    });
    this.#redis.on('messageBuffer', (channel: Buffer, body: Buffer) => this.#receive(channel, body));
    this.#redis.on('pmessageBuffer', (_pattern: unknown, channel: Buffer, body: Buffer) =>
      this.#receive(channel, body),
    );
    if (!sharedJournal) return;
    // A connection that subscribes takes no other commands.
    const redis = openRedis(REDIS_URL, `${name}:turn`, {
      ready: () => undefined,
      lost: error => this.#failed(error),
    });
    this.#turn = { redis, lease: new Lease(redis, `${REDIS_PREFIX}:redis-pubsub:listener`) };
  }

  start(): void {
    this.#working ??= this.#work();
  }

  async stop(): Promise<void> {
    this.#intake.stop();
    await this.#working;
    await this.#checking;
    this.#redis.disconnect();
    this.#dropped += this.#waiting.size;
    await this.#waiting.clear();
    await this.#turn?.lease.release().catch(error => this.#failed(error));
    this.#turn?.redis.disconnect();
  }

  status(): SourceStatus {
    const connected = this.#ready && (this.#isSubscribed || this.#isStandby);
    return { connected, lag: this.#waiting.size, dropped: this.#dropped };
  }

  #failed(error: unknown): void {
    this.#intake.failed('Redis Pub/Sub cannot be listened to', error);
  }

  async #work(): Promise<void> {
    const { stopping } = this.#intake;
    while (!stopping.aborted) {
      await this.#check();
      await pause(CHECK_MS, stopping);
    }
  }

  #check(): Promise<void> {
    this.#checking ??= this.#subscribeOrNot()
      .catch(error => this.#failed(error))
      .finally(() => {
        this.#checking = undefined;
      });
    return this.#checking;
  }

  async #subscribeOrNot(): Promise<void> {
    if (this.#intake.stopping.aborted) return;
    const isOurs = this.#turn === undefined || (await this.#turn.lease.hold());
    this.#isStandby = !isOurs;
    if (!this.#ready) return;
    // Nothing else would be written to it, and so a dead network not be noticed.
    if (isOurs === this.#isSubscribed) return void (await this.#redis.ping());
    if (!isOurs) {
      this.#isSubscribed = false;
      await this.#redis.unsubscribe();
      await this.#redis.punsubscribe();
      return;
    }
    if (this.#channels.length > 0) await this.#redis.subscribe(...this.#channels);
    if (this.#patterns.length > 0) await this.#redis.psubscribe(...this.#patterns);
    this.#isSubscribed = true;
    this.#intake.recovered(
      `listening to Redis Pub/Sub: ${[...this.#channels, ...this.#patterns].join(', ')}`,
    );
  }

  #receive(channel: Buffer, body: Buffer): void {
    // Whoever has the turn by now hears it too.
    if (this.#turn?.lease.isHeld === false) return;
    if (this.#waiting.size >= MAX_WAITING || this.#waitingBytes + body.length > MAX_WAITING_BYTES) {
      this.#dropped++;
      this.#intake.warn('messages of Redis Pub/Sub are dropped, since the journal does not keep up');
      return;
    }
    const room = String(channel);
    const name = room.startsWith(this.#prefix) ? room.slice(this.#prefix.length) : room;
    this.#waitingBytes += body.length;
    this.#waiting.push({ body, translate: text => fromLaravel(text, name) ?? text });
  }

  async #take(messages: Message[]): Promise<void> {
    for (const { body } of messages) this.#waitingBytes -= body.length;
    try {
      // There is no place for what is refused: it is counted and logged.
      await this.#intake.take(messages);
    } catch (error) {
      if (!(error instanceof Stopped)) this.#failed(error);
    }
  }
}

/** What Laravel's Redis broadcaster publishes, in our JSON; undefined for what is no such thing. */
function fromLaravel(text: string, room: string): string | undefined {
  const message = parse(text);
  if (typeof message !== 'object' || message === null || !('event' in message)) return undefined;
  if (Object.keys(message).some(field => !LARAVEL_FIELDS.includes(field))) return undefined;
  const socket = 'socket' in message ? message.socket : undefined;
  const members = [
    `"room":${JSON.stringify(room)}`,
    `"event":${JSON.stringify(message.event)}`,
    `"data":${memberText(text, 'data') ?? 'null'}`,
  ];
  // Pages that are connected to another server beside us send that one's ids, which say nothing here.
  if (typeof socket === 'string' && isConnectionId(socket)) members.push(`"except":"${socket}"`);
  return `{${members.join()}}`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The validator says what is wrong with it.
    return undefined;
  }
}
