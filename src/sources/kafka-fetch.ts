import { ConnectionPool, type Consumer, IS_CONTROL, type KafkaRecord } from '@platformatic/kafka';
import { CLIENT_ID, type KafkaConnection } from './kafka-connection.js';
import type { Message } from './message.js';

// Limits the memory of one answer, unless a single record is larger. In memory, a small record takes ten times its size.
const MAX_FETCH_BYTES = 2 * 1024 * 1024;
const MAX_PARTITION_BYTES = 512 * 1024;
const MAX_WAIT_MS = 1000;
const NO_EPOCH = -1;

export type KafkaConsumer = Consumer<Buffer, Buffer, Buffer, Buffer>;
/** An offset for each partition. */
export type Offsets = Map<number, bigint>;
type FetchedPartitions = Awaited<ReturnType<Consumer['fetch']>>['responses'][number]['partitions'];

/** A record, as a message for the intake. */
export interface FetchedRecord extends Message {
  readonly partition: number;
  readonly offset: bigint;
  readonly record: KafkaRecord;
}

/** What one request brought. */
export interface Fetched {
  readonly records: FetchedRecord[];
  /** Where to read on in each partition that brought something. */
  readonly next: Offsets;
}

/** Fetches records of one topic. */
export class KafkaFetcher {
  readonly #consumer: KafkaConsumer;
  readonly #topic: string;
  // Only for fetches: a broker answers the requests of a connection one after the other, so that a heartbeat would
  // wait for the fetch before it.
  readonly #connections: ConnectionPool;

  constructor(consumer: KafkaConsumer, connection: KafkaConnection, topic: string) {
    this.#consumer = consumer;
    this.#topic = topic;
    this.#connections = new ConnectionPool(CLIENT_ID, connection);
  }

  /**
   * Sends one request to a broker. Waits up to a second for records.
   * @param from where to read; the partitions that come first fill the answer
   */
  async fetch(broker: number, topicId: string, from: Offsets): Promise<Fetched> {
    const { responses } = await this.#consumer.fetch({
      node: broker,
      connectionPool: this.#connections,
      maxBytes: MAX_FETCH_BYTES,
      maxWaitTime: MAX_WAIT_MS,
      topics: [
        {
          topicId,
          partitions: [...from].map(([partition, fetchOffset]) => ({
            partition,
            fetchOffset,
            partitionMaxBytes: MAX_PARTITION_BYTES,
            currentLeaderEpoch: NO_EPOCH,
            lastFetchedEpoch: NO_EPOCH,
          })),
        },
      ],
    });
    return this.#fetched(
      responses.flatMap(({ partitions }) => partitions),
      from,
    );
  }

  /** Ends the requests under way: they reject. */
  async close(): Promise<void> {
    await this.#connections.close();
  }

  #fetched(partitions: FetchedPartitions, from: Offsets): Fetched {
    const records: FetchedRecord[] = [];
    const next: Offsets = new Map();
    for (const { partitionIndex: partition, records: batches = [] } of partitions) {
      const first = from.get(partition) ?? 0n;
      for (const batch of batches) {
        // Some offsets have no record: those of transaction markers, and of records that compaction has removed.
        next.set(partition, batch.firstOffset + BigInt(batch.lastOffsetDelta) + 1n);
        if (batch.attributes & IS_CONTROL) continue;
        for (const record of batch.records) {
          const offset = batch.firstOffset + BigInt(record.offsetDelta);
          // The broker sends a whole batch, even if we read on in its middle.
          if (offset >= first) records.push(this.#messageOf(record, partition, offset));
        }
      }
    }
    return { records, next };
  }

  #messageOf(record: KafkaRecord, partition: number, offset: bigint): FetchedRecord {
    // A record without a value marks a deletion in a compacted topic. As a notification it is invalid.
    const body = record.value ?? Buffer.alloc(0);
    return { record, partition, offset, body, key: `${this.#topic}:${partition}:${offset}` };
  }
}
