import type { Channel, ChannelModel, ConfirmChannel, ConsumeMessage } from 'amqplib';
import { waitBriefly } from '../model/pause.js';
import { Batcher } from './batcher.js';
import { MAX_REASON, sendToDeadLetters } from './dead-letters.js';
import { type Intake, Stopped } from './intake.js';
import type { Message, Refused } from './message.js';
import { Session } from './session.js';

// A close waits no longer than this for a broker that does not answer.
const CLOSE_TIMEOUT_MS = 2000;

type Delivery = Message & { readonly delivery: ConsumeMessage };

/** One connection to RabbitMQ. A delivery can only be acknowledged on the channel that brought it. */
export class RabbitMqSession extends Session {
  readonly #connection: ChannelModel;
  readonly #queue: string;
  readonly #prefetch: number;
  readonly #deliveries = new Batcher<Delivery>(deliveries => this.#take(deliveries));
  #channel: Channel | undefined;
  #deadLetters: ConfirmChannel | undefined;
  /** Something went wrong, so nothing can be acknowledged any more. A stop alone does not set it. */
  #isBroken = false;
  /** Messages delivered and not acknowledged. */
  #held = 0;
  /** Messages in the queue that are not delivered, as last measured. */
  #waiting: number | undefined;

  /** @param connection the session closes it */
  constructor(connection: ChannelModel, options: { queue: string; prefetch: number }, intake: Intake) {
    super(intake);
    this.#connection = connection;
    this.#queue = options.queue;
    this.#prefetch = options.prefetch;
    connection.on('error', error => this.end(error));
    connection.on('close', error => this.end(error ?? new Error('the connection was closed')));
  }

  get lag(): number | undefined {
    return this.#waiting === undefined || this.isOver ? undefined : this.#waiting + this.#held;
  }

  override end(reason: unknown): void {
    this.#isBroken ||= !(reason instanceof Stopped);
    super.end(reason);
  }

  /** Resolves when deliveries come. */
  protected async work(): Promise<void> {
    await this.#declare(this.#queue, { 'x-single-active-consumer': true });
    await this.#declare(`${this.#queue}.dead`, {});
    this.#deadLetters = await this.#connection.createConfirmChannel();
    this.#channel = await this.#connection.createChannel();
    for (const channel of [this.#deadLetters, this.#channel]) channel.on('error', error => this.end(error));
    this.#deadLetters.on('return', () => this.end(new Error(`the queue ${this.#queue}.dead was deleted`)));
    await this.#channel.prefetch(this.#prefetch);
    await this.#channel.consume(this.#queue, delivery => this.#receive(delivery));
    this.begin(`reading the RabbitMQ queue ${this.#queue}`, () => this.#measureLag());
  }

  /** Gives back what is not acknowledged. At a stop, the batch under way gets a moment to be acknowledged. */
  protected async close(): Promise<void> {
    const handled = this.#deliveries.clear();
    // The batch must be done before the next session gets the same messages. After a stop there is no next session.
    await (this.intake.stopping.aborted ? waitBriefly(handled, CLOSE_TIMEOUT_MS) : handled);
    await waitBriefly(this.#leave(), CLOSE_TIMEOUT_MS);
  }

  async #leave(): Promise<void> {
    // The channel first: if only the connection closed, the last acknowledgement could be lost. A close rejects if
    // the channel or the connection is closed already.
    await this.#channel?.close().catch(() => undefined);
    await this.#connection.close().catch(() => undefined);
  }

  /**
   * Makes a queue if it is missing. Looks first, because an existing queue may have other arguments, and then making
   * it fails. Each step has its own channel, because the broker closes a channel on which something fails.
   */
  async #declare(queue: string, args: object): Promise<void> {
    try {
      await this.#onChannel(channel => channel.checkQueue(queue));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      await this.#onChannel(channel => channel.assertQueue(queue, { durable: true, arguments: args }));
    }
  }

  async #onChannel(act: (channel: Channel) => Promise<unknown>): Promise<void> {
    const channel = await this.#connection.createChannel();
    // The error also rejects `act`.
    channel.on('error', () => undefined);
    await act(channel);
    await channel.close();
  }

  #receive(delivery: ConsumeMessage | null): void {
    if (delivery === null) return this.end(new Error(`the queue ${this.#queue} was deleted`));
    if (this.isOver) return;
    this.#held++;
    const { messageId } = delivery.properties;
    const key = typeof messageId === 'string' && messageId !== '' ? messageId : undefined;
    this.#deliveries.push({ delivery, body: delivery.content, key });
  }

  async #take(deliveries: Delivery[]): Promise<void> {
    if (this.isOver) return;
    try {
      const refused = await this.intake.take(deliveries);
      await sendToDeadLetters(
        this.intake,
        refused,
        deadLetter => this.#sendDeadLetter(deadLetter),
        () => this.isOver,
      );
      const last = deliveries.at(-1);
      // A broken connection acknowledges nothing: the broker brings these messages again.
      if (last === undefined || this.#isBroken) return;
      this.#channel?.ack(last.delivery, true);
      this.#held -= deliveries.length;
    } catch (error) {
      this.end(error);
    }
  }

  async #sendDeadLetter({ message, body, reason }: Refused<Delivery>): Promise<void> {
    const channel = this.#deadLetters;
    if (channel === undefined) throw new Error('there is no channel for dead letters');
    const { contentType, messageId, headers } = message.delivery.properties;
    channel.sendToQueue(`${this.#queue}.dead`, Buffer.from(body), {
      contentType,
      // A part of a batch gets no id: with it, its items would get the keys of items that were published.
      messageId: body === message.body ? messageId : undefined,
      headers: {
        ...headers,
        // The broker would send a copy to each queue that these two name, even to the queue that we read.
        CC: undefined,
        BCC: undefined,
        'x-reason': reason.slice(0, MAX_REASON),
        'x-queue': this.#queue,
      },
      persistent: true,
      mandatory: true,
    });
    const confirmed = channel.waitForConfirms();
    // A broker that is short of memory does not confirm. This rejects if the connection breaks meanwhile. At a stop
    // this still waits, and `close` limits how long.
    const ended = this.over.then(why => (this.#isBroken ? Promise.reject(why) : confirmed));
    await Promise.race([confirmed, ended]);
  }

  async #measureLag(): Promise<void> {
    try {
      const { messageCount } = (await this.#channel?.checkQueue(this.#queue)) ?? {};
      this.#waiting = messageCount;
    } catch (error) {
      this.end(error);
    }
  }
}

function isNotFound(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 404;
}
