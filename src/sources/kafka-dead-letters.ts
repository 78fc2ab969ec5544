import { Producer } from '@platformatic/kafka';
import { MAX_REASON } from './dead-letters.js';
import type { KafkaConnection } from './kafka-connection.js';
import { isTooLarge } from './kafka-error.js';
import type { FetchedRecord } from './kafka-fetch.js';
import type { Refused } from './message.js';

const RETRIES = 3;
const RETRY_MS = 250;
const ALL_REPLICAS = -1;

/** Sends dead letters to the topic `<topic>.dead`. Connects when the first dead letter comes. */
export class KafkaDeadLetters {
  readonly #connection: KafkaConnection;
  readonly #topic: string;
  #producer: Producer<Buffer, Buffer, Buffer, Buffer> | undefined;

  /** @param topic the topic that the records come from */
  constructor(connection: KafkaConnection, topic: string) {
    this.#connection = connection;
    this.#topic = topic;
  }

  /** Resolves when all replicas have the dead letter. A dead letter that is too large is sent without its body. */
  async send(deadLetter: Refused<FetchedRecord>): Promise<void> {
    try {
      await this.#send(deadLetter, Buffer.from(deadLetter.body));
    } catch (error) {
      // The reason makes the dead letter larger than the record. The headers say where the record is.
      if (!isTooLarge(error)) throw error;
      await this.#send(deadLetter, Buffer.alloc(0));
    }
  }

  async close(): Promise<void> {
    await this.#producer?.close();
  }

  async #send({ message, reason }: Refused<FetchedRecord>, value: Buffer): Promise<void> {
    const { record, partition, offset } = message;
    const added = {
      reason: reason.slice(0, MAX_REASON),
      topic: this.#topic,
      partition: String(partition),
      offset: String(offset),
    };
    const headers = [...record.headers, ...Object.entries(added)] as const;
    // The producer tries again, because not every broker knows a new topic at once.
    this.#producer ??= new Producer({ ...this.#connection, retries: RETRIES, retryDelay: RETRY_MS });
    await this.#producer.send({
      acks: ALL_REPLICAS,
      messages: [
        {
          topic: `${this.#topic}.dead`,
          ...(record.key !== null && { key: record.key }),
          value,
          headers: new Map(headers.map(([name, text]) => [Buffer.from(name ?? ''), Buffer.from(text ?? '')])),
        },
      ],
    });
  }
}
