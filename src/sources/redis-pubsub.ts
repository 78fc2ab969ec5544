import { isConnectionId } from '../model/address.js';
import { memberText } from '../model/json.js';
import { pause } from '../model/pause.js';
import { openRedis, type RedisClient } from '../redis/client.js';
import { Lease } from '../redis/lease.js';
import { Batcher } from './batcher.js';
import type { Intake } from './intake.js';
import type { Message } from './message.js';
import type { Source, SourceSettings, SourceStatus } from './source.js';

// Redis does not make publishers wait: when more messages than this wait for the journal, new ones are dropped.
const MAX_WAITING = 20_000;
const MAX_WAITING_BYTES = 32 * 1024 * 1024;
const CHECK_MS = 1000;
const LARAVEL_FIELDS = ['event', 'data', 'socket'];
const IS_PATTERN = /[*?[]/;

/**
 * Redis Pub/Sub: at most once, because Redis keeps no messages. A message is our JSON or a Laravel broadcast. A
 * Laravel broadcast goes to the room with the name of its channel.
 */
export class RedisPubSubSource implements Source {
  readonly #intake: Intake;
  readonly #redis: RedisClient;
  readonly #channels: readonly string[];
  readonly #patterns: readonly string[];
  readonly #prefix: string;
  /** Only if nodes share a journal: one of them listens, because all of them would publish the same messages. */
  readonly #turn: { readonly redis: RedisClient; readonly lease: Lease } | undefined;
  readonly #waiting = new Batcher<Message>(messages => this.#take(messages));
  #waitingBytes = 0;
  #dropped = 0;
  #ready = false;
  #isSubscribed = false;
  /** Another node listens. */
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
    // The lease needs its own connection: a connection that subscribes takes no other commands.
    const events = { ready: () => undefined, lost: (error: unknown) => this.#failed(error) };
    const redis = openRedis(REDIS_URL, `${name}:turn`, events);
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
    // Only a ping shows that the network is dead: we write nothing else to this connection.
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
    // The lease has run out: the node that has it now gets this message too.
    if (this.#turn?.lease.isHeld === false) return;
    if (this.#waiting.size >= MAX_WAITING || this.#waitingBytes + body.length > MAX_WAITING_BYTES) {
      this.#dropped++;
      this.#intake.warn('messages of Redis Pub/Sub are dropped, since the journal does not keep up');
      return;
    }
    const name = String(channel);
    const room = name.startsWith(this.#prefix) ? name.slice(this.#prefix.length) : name;
    this.#waitingBytes += body.length;
    this.#waiting.push({ body, translate: text => fromLaravel(text, room) ?? text });
  }

  async #take(messages: Message[]): Promise<void> {
    for (const { body } of messages) this.#waitingBytes -= body.length;
    // Pub/Sub has no dead letters: the intake counts and logs refused messages.
    await this.#intake.take(messages).catch(error => this.#failed(error));
  }
}

/** Translates a broadcast of Laravel into our JSON. Returns undefined for any other message. */
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
  // `socket` may be a connection of another server, for pages that are connected to both. It means nothing here.
  if (typeof socket === 'string' && isConnectionId(socket)) members.push(`"except":"${socket}"`);
  return `{${members.join()}}`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The intake refuses the text and says what is wrong.
    return undefined;
  }
}
