import { type Channel, type ChannelModel, type ConfirmChannel, type ConsumeMessage, connect } from 'amqplib';
import { waitBriefly } from '../model/pause.js';
import { keepTrying } from './attempts.js';
import { Batcher } from './batcher.js';
import { MAX_REASON, sendToDeadLetters } from './dead-letters.js';
import { type Intake, Stopped } from './intake.js';
import type { Message, Refused } from './message.js';
import type { Source, SourceSettings, SourceStatus } from './source.js';

const CONNECT_TIMEOUT_MS = 5000;
const HEARTBEAT_SECONDS = '10';
const LAG_INTERVAL_MS = 2000;
// A broker that does not answer the good-bye is left.
const CLOSE_TIMEOUT_MS = 2000;

type Delivery = Message & { readonly delivery: ConsumeMessage };

/**
 * A RabbitMQ queue: at least once, in order, acknowledged when the journal has it. The queue is made, durable and with
 * a single active consumer, where it is not there; one that is there is taken as it is. `message_id` is the idempotency
 * key where the body has none. Dead letters: the queue `<queue>.dead`, with the reason in the header `x-reason`.
 */
export class RabbitMqSource implements Source {
  readonly #intake: Intake;
  readonly #url: string;
  readonly #queue: string;
  readonly #prefetch: number;
  #session: Session | undefined;
  #working: Promise<void> | undefined;

  constructor(settings: SourceSettings, intake: Intake) {
    const { RABBITMQ_URL, RABBITMQ_QUEUE, RABBITMQ_PREFETCH } = settings;
    if (RABBITMQ_URL === undefined) throw new Error('the RabbitMQ source needs RABBITMQ_URL');
    const url = new URL(RABBITMQ_URL);
    // By it a dead network is found.
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', HEARTBEAT_SECONDS);
    this.#intake = intake;
    this.#url = url.href;
    this.#queue = RABBITMQ_QUEUE;
    this.#prefetch = RABBITMQ_PREFETCH;
  }

  start(): void {
    this.#working ??= keepTrying(this.#intake, 'RabbitMQ cannot be read', () => this.#consume());
  }

  async stop(): Promise<void> {
    this.#intake.stop();
    this.#session?.end(new Stopped());
    await this.#working;
  }

  status(): SourceStatus {
    return { connected: this.#session?.isConsuming ?? false, lag: this.#session?.lag };
  }

  /** Resolves, with why, when the session is over; rejects where it did not come about. */
  async #consume(): Promise<unknown> {
    const connection = await connect(this.#url, {
      timeout: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      noDelay: true,
      clientProperties: { connection_name: 'postroom' },
    }).catch((error: unknown) => {
      throw explained(error);
    });
    const session = new Session(connection, this.#queue, this.#intake);
    this.#session = session;
    if (this.#intake.stopping.aborted) session.end(new Stopped());
    try {
      await Promise.race([session.consume(this.#prefetch), session.over]);
      return await session.over;
    } finally {
      await session.close();
    }
  }
}

/** One connection to the broker. A delivery is acknowledged on the channel that it came by, or not at all. */
class Session {
  /** Resolves, with why, when the connection, a channel or the consumer is gone. */
  readonly over: Promise<unknown>;
  end: (reason: unknown) => void = () => undefined;
  isConsuming = false;
  readonly #connection: ChannelModel;
  readonly #queue: string;
  readonly #intake: Intake;
  readonly #deliveries = new Batcher<Delivery>(deliveries => this.#take(deliveries));
  #channel: Channel | undefined;
  #dead: ConfirmChannel | undefined;
  #isOver = false;
  /** Over, and not because we want to stop: nothing may be acknowledged any more. */
  #isBroken = false;
  /** Delivered and not acknowledged. */
  #held = 0;
  /** Messages in the queue, as last asked. */
  #waiting: number | undefined;
  #asking: NodeJS.Timeout | undefined;

  constructor(connection: ChannelModel, queue: string, intake: Intake) {
    this.#connection = connection;
    this.#queue = queue;
    this.#intake = intake;
    this.over = new Promise(resolve => {
      this.end = reason => {
        this.#isOver = true;
        this.#isBroken ||= !(reason instanceof Stopped);
        this.isConsuming = false;
        resolve(reason);
      };
    });
    connection.on('error', this.end);
    connection.on('close', error => this.end(error ?? new Error('the connection was closed')));
  }

  get lag(): number | undefined {
    return this.#waiting === undefined || this.#isOver ? undefined : this.#waiting + this.#held;
  }

  /** Resolves when deliveries come; rejects with the broker's reason where it will not have it. */
  async consume(prefetch: number): Promise<void> {
    await this.#declare(this.#queue, { 'x-single-active-consumer': true });
    await this.#declare(`${this.#queue}.dead`, {});
    this.#dead = await this.#connection.createConfirmChannel();
    this.#channel = await this.#connection.createChannel();
    for (const channel of [this.#dead, this.#channel]) channel.on('error', this.end);
    this.#dead.on('return', () => this.end(new Error(`the queue ${this.#queue}.dead was deleted`)));
    await this.#channel.prefetch(prefetch);
    await this.#channel.consume(this.#queue, delivery => this.#receive(delivery));
    this.isConsuming = !this.#isOver;
    this.#intake.recovered(`reading the RabbitMQ queue ${this.#queue}`);
    await this.#ask();
  }

  /** Gives back what is not acknowledged; what is under way at a stop still is, if that takes no longer than a moment. */
  async close(): Promise<void> {
    this.end(new Stopped());
    clearTimeout(this.#asking);
    // Those in hand must be done before they come again by another session, unless there will be none.
    const handled = this.#deliveries.clear();
    await (this.#intake.stopping.aborted ? waitBriefly(handled, CLOSE_TIMEOUT_MS) : handled);
    await waitBriefly(this.#leave(), CLOSE_TIMEOUT_MS);
  }

  /** The channel first: the connection's good-bye can overtake an acknowledgement. Both reject where they are gone already. */
  async #leave(): Promise<void> {
    await this.#channel?.close().catch(() => undefined);
    await this.#connection.close().catch(() => undefined);
  }

  /** What is there may have other arguments than ours, so it is looked for first: on a channel that ends where it is not. */
  async #declare(queue: string, args: object): Promise<void> {
    const channel = await this.#connection.createChannel();
    channel.on('error', () => undefined);
    try {
      await channel.checkQueue(queue);
      await channel.close();
    } catch (error) {
      if (!isNotFound(error)) throw error;
      const maker = await this.#connection.createChannel();
      maker.on('error', () => undefined);
      await maker.assertQueue(queue, { durable: true, arguments: args });
      await maker.close();
    }
  }

  #receive(delivery: ConsumeMessage | null): void {
    if (delivery === null) return this.end(new Error(`the queue ${this.#queue} was deleted`));
    if (this.#isOver) return;
    this.#held++;
    const { messageId } = delivery.properties;
    const key = typeof messageId === 'string' && messageId !== '' ? messageId : undefined;
    this.#deliveries.push({ delivery, body: delivery.content, key });
  }

  async #take(deliveries: Delivery[]): Promise<void> {
    if (this.#isOver) return;
    try {
      const refused = await this.#intake.take(deliveries);
      await sendToDeadLetters(
        this.#intake,
        refused,
        deadLetter => this.#sendDeadLetter(deadLetter),
        () => this.#isOver,
      );
      const last = deliveries.at(-1);
      // The broker brings again what a connection that is gone has not acknowledged.
      if (last === undefined || this.#isBroken) return;
      this.#channel?.ack(last.delivery, true);
      this.#held -= deliveries.length;
    } catch (error) {
      this.end(error);
    }
  }

  async #sendDeadLetter({ message, body, reason }: Refused<Delivery>): Promise<void> {
    if (this.#dead === undefined) throw new Error('there is no channel for dead letters');
    const { contentType, messageId, headers } = message.delivery.properties;
    const told = { 'x-reason': reason.slice(0, MAX_REASON), 'x-queue': this.#queue };
    this.#dead.sendToQueue(`${this.#queue}.dead`, Buffer.from(body), {
      contentType,
      // Of a batch with other items it would stand for one of those that were taken.
      messageId: body === message.body ? messageId : undefined,
      // The broker would send a copy to each queue that these two name, be it the one it came from.
      headers: { ...headers, CC: undefined, BCC: undefined, ...told },
      persistent: true,
      mandatory: true,
    });
    const confirmed = this.#dead.waitForConfirms();
    // A broker that is short of memory does not read what is published. At a stop `close` waits for it, but not for long.
    await Promise.race([confirmed, this.over.then(() => (this.#isBroken ? this.#failure() : confirmed))]);
  }

  /** Rejects when the session is over. */
  async #failure(): Promise<never> {
    throw await this.over;
  }

  /** Asks how many there are, again and again. */
  async #ask(): Promise<void> {
    if (this.#isOver) return;
    try {
      const { messageCount } = (await this.#channel?.checkQueue(this.#queue)) ?? {};
      this.#waiting = messageCount;
    } catch (error) {
      this.end(error);
    }
    if (this.#isOver) return;
    this.#asking = setTimeout(() => void this.#ask(), LAG_INTERVAL_MS);
  }
}

function isNotFound(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 404;
}

/** What amqplib says of a virtual host that cannot be opened names a frame, and nothing that one could put right. */
function explained(error: unknown): unknown {
  if (!(error instanceof Error) || !error.message.startsWith('Expected ConnectionOpenOk')) return error;
  return new Error('the virtual host in RABBITMQ_URL is not there, or not open to this user', {
    cause: error,
  });
}
