import { setTimeout as after } from 'node:timers/promises';
import {
  Admin,
  Consumer,
  type Message as KafkaMessage,
  type MessagesStream,
  Producer,
} from '@platformatic/kafka';
import { Gatherer } from './gatherer.js';
import { type Intake, type Message, type Refused, Stopped } from './intake.js';
import type { Source, SourceSettings, SourceStatus } from './source.js';

const CLIENT_ID = 'postroom';
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
const CONNECT_TIMEOUT_MS = 5000;
const REQUEST_TIMEOUT_MS = 10_000;
// A member that died is waited for so long before its partitions are given to others, or to the one that comes back.
const SESSION_TIMEOUT_MS = 10_000;
const HEARTBEAT_MS = 2000;
const MAX_FETCH_BYTES = 4 * 1024 * 1024;
// With more than this in hand nothing is fetched.
const MAX_HELD_BYTES = 8 * 1024 * 1024;
const MAX_WAIT_MS = 1000;
const LAG_INTERVAL_MS = 2000;
// A broker that does not answer the good-bye is left.
const CLOSE_TIMEOUT_MS = 3000;
const MAX_REASON = 1000;
const PRODUCER_RETRIES = 3;
const LATEST = -1n;
const ALL_REPLICAS = -1;
const BROKERS_DEFAULT = -1;

type Raw = KafkaMessage<Buffer, Buffer, Buffer, Buffer>;
type Stream = MessagesStream<Buffer, Buffer, Buffer, Buffer>;
type Connection = ReturnType<typeof connectionOf>;
type KafkaRecord = Message & { readonly record: Raw };

/**
 * A Kafka topic, read as a consumer group: at least once, in order within a partition, committed when the journal has
 * it. `topic:partition:offset` is the idempotency key where the body has none. A topic that is not there is made. Dead
 * letters: the topic `<topic>.dead`, with the reason in the header `reason`.
 */
export class KafkaSource implements Source {
  readonly #intake: Intake;
  readonly #settings: SourceSettings;
  #session: Session | undefined;
  #working: Promise<void> | undefined;

  constructor(settings: SourceSettings, intake: Intake) {
    this.#settings = settings;
    this.#intake = intake;
  }

  start(): void {
    this.#working ??= this.#work();
  }

  async stop(): Promise<void> {
    this.#intake.stop();
    this.#session?.end(new Stopped());
    await this.#working;
  }

  status(): SourceStatus {
    return { connected: this.#session?.isConsuming ?? false, lag: this.#session?.lag };
  }

  /** One session after the other, with growing pauses while they fail. */
  async #work(): Promise<void> {
    const { stopping } = this.#intake;
    let pause = FIRST_PAUSE_MS;
    while (!stopping.aborted) {
      const session = new Session(this.#settings, this.#intake);
      this.#session = session;
      const error = await session.run();
      if (stopping.aborted) return;
      this.#intake.failed('Kafka cannot be read', new Error(reasonOf(error), { cause: error }));
      // It rejects only when the server stops.
      await after(pause * (0.5 + Math.random() / 2), undefined, { signal: stopping }).catch(() => undefined);
      pause = session.hasConsumed ? FIRST_PAUSE_MS : Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
  }
}

/** One membership in the group, until something goes wrong. */
class Session {
  isConsuming = false;
  hasConsumed = false;
  lag: number | undefined;
  end: (reason: unknown) => void = () => undefined;
  readonly #over: Promise<unknown>;
  readonly #connection: Connection;
  readonly #topic: string;
  readonly #intake: Intake;
  readonly #consumer: Consumer<Buffer, Buffer, Buffer, Buffer>;
  readonly #records = new Gatherer<KafkaRecord>(records => this.#take(records));
  #stream: Stream | undefined;
  #producer: Producer<Buffer, Buffer, Buffer, Buffer> | undefined;
  #isOver = false;
  #held = 0;
  #heldBytes = 0;
  #asking: NodeJS.Timeout | undefined;

  constructor(settings: SourceSettings, intake: Intake) {
    this.#intake = intake;
    this.#topic = settings.KAFKA_TOPIC;
    this.#connection = connectionOf(settings);
    this.#over = new Promise(resolve => {
      this.end = reason => {
        this.#isOver = true;
        this.isConsuming = false;
        resolve(reason);
      };
    });
    this.#consumer = new Consumer({
      ...this.#connection,
      groupId: settings.KAFKA_GROUP,
      autocommit: false,
      sessionTimeout: SESSION_TIMEOUT_MS,
      rebalanceTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_MS,
    });
  }

  /** Resolves, with why, when it is over. Never rejects. */
  async run(): Promise<unknown> {
    try {
      await this.#makeTopics();
      await this.#consume();
    } catch (error) {
      this.end(error);
    }
    const reason = await this.#over;
    await this.#close();
    return reason;
  }

  async #consume(): Promise<void> {
    const stream = await this.#consumer.consume({
      topics: [this.#topic],
      mode: 'committed',
      fallbackMode: 'earliest',
      autocommit: false,
      maxBytes: MAX_FETCH_BYTES,
      maxWaitTime: MAX_WAIT_MS,
    });
    this.#stream = stream;
    stream.on('error', this.end);
    stream.on('close', () => this.end(new Error('the stream of records ended')));
    stream.on('data', record => this.#receive(record));
    this.isConsuming = !this.#isOver;
    this.hasConsumed = true;
    this.#intake.recovered('reading the Kafka topic');
    await this.#ask();
  }

  /** The topic and the one for its dead letters, as large as the broker makes them. */
  async #makeTopics(): Promise<void> {
    const admin = new Admin(this.#connection);
    try {
      const known = await admin.listTopics();
      const topics = [this.#topic, `${this.#topic}.dead`].filter(topic => !known.includes(topic));
      if (topics.length === 0) return;
      await admin.createTopics({ topics, partitions: BROKERS_DEFAULT, replicas: BROKERS_DEFAULT });
    } finally {
      await admin.close();
    }
  }

  #receive(record: Raw): void {
    if (this.#isOver) return;
    const { topic, partition, offset } = record;
    // A record without a value is what compaction knows as deleted; here it says nothing.
    const body = record.value ?? Buffer.alloc(0);
    this.#held++;
    this.#heldBytes += body.length;
    this.#records.push({ record, body, key: `${topic}:${partition}:${offset}` });
    if (this.#heldBytes > MAX_HELD_BYTES) this.#stream?.pause();
  }

  async #take(records: KafkaRecord[]): Promise<void> {
    if (this.#isOver) return;
    try {
      await this.#bury(await this.#intake.take(records));
      if (this.#isOver) return;
      await this.#commit(records);
      this.#held -= records.length;
      for (const { body } of records) this.#heldBytes -= body.length;
      if (this.#heldBytes <= MAX_HELD_BYTES && this.#stream?.isPaused()) this.#stream.resume();
    } catch (error) {
      this.end(error);
    }
  }

  async #commit(records: readonly KafkaRecord[]): Promise<void> {
    const next = new Map<number, bigint>();
    for (const { record } of records) next.set(record.partition, record.offset + 1n);
    const offsets = [...next].map(([partition, offset]) => ({
      topic: this.#topic,
      partition,
      offset,
      leaderEpoch: -1,
    }));
    try {
      await this.#consumer.commit({ offsets });
    } catch (error) {
      // The group is just being divided anew. Who gets them reads them again, and their keys are known.
      if (!needsRejoin(error)) throw error;
    }
  }

  async #bury(refused: readonly Refused<KafkaRecord>[]): Promise<void> {
    if (refused.length === 0) return;
    // A topic that was just made is not known everywhere at once.
    this.#producer ??= new Producer({ ...this.#connection, retries: PRODUCER_RETRIES });
    await this.#producer.send({
      acks: ALL_REPLICAS,
      messages: refused.map(({ message: { record }, body, reason }) => ({
        topic: `${this.#topic}.dead`,
        ...(record.key !== undefined && { key: record.key }),
        value: Buffer.from(body),
        headers: new Map(
          [
            ...record.headers,
            ...Object.entries({
              reason: reason.slice(0, MAX_REASON),
              topic: record.topic,
              partition: String(record.partition),
              offset: String(record.offset),
            }),
          ].map(([name, value]) => [Buffer.from(name), Buffer.from(value)]),
        ),
      })),
    });
  }

  /** Asks how many records there are, again and again. */
  async #ask(): Promise<void> {
    try {
      const latest = await this.#consumer.listOffsets({ topics: [this.#topic], timestamp: LATEST });
      if (this.#isOver) return;
      const assigned =
        this.#consumer.assignments?.find(({ topic }) => topic === this.#topic)?.partitions ?? [];
      const next = this.#stream?.offsetsToFetch;
      const behind = assigned.map(partition => {
        const end = latest.get(this.#topic)?.[partition] ?? 0n;
        return Number(end - (next?.get(`${this.#topic}:${partition}`) ?? end));
      });
      this.lag = behind.reduce((sum, records) => sum + records, this.#held);
    } catch (error) {
      this.end(error);
      return;
    }
    this.#asking = setTimeout(() => void this.#ask(), LAG_INTERVAL_MS);
  }

  async #close(): Promise<void> {
    clearTimeout(this.#asking);
    await this.#records.clear();
    const timeout = new AbortController();
    const closed = Promise.allSettled([
      // By force: the streams first, then the group is left, so that the next one has not to wait for us.
      this.#consumer.close(true),
      this.#producer?.close(),
    ]);
    await Promise.race([closed, after(CLOSE_TIMEOUT_MS, undefined, timeout).catch(() => undefined)]);
    timeout.abort();
  }
}

function connectionOf(settings: SourceSettings) {
  const { KAFKA_BROKERS, KAFKA_TLS, KAFKA_SASL_MECHANISM } = settings;
  const { KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = settings;
  return {
    clientId: CLIENT_ID,
    bootstrapBrokers: [...KAFKA_BROKERS],
    connectTimeout: CONNECT_TIMEOUT_MS,
    timeout: REQUEST_TIMEOUT_MS,
    // A session that fails is followed by another one: that is the trying again.
    retries: 0,
    ...(KAFKA_TLS && { tls: {} }),
    ...(username !== undefined &&
      password !== undefined && { sasl: { mechanism: KAFKA_SASL_MECHANISM, username, password } }),
  };
}

function needsRejoin(error: unknown): boolean {
  return everyError(error).some(
    one =>
      ('needsRejoin' in one && one.needsRejoin === true) ||
      ('rebalanceInProgress' in one && one.rebalanceInProgress === true),
  );
}

/** What is wrong, and what lies behind it: the library's own sentences seldom say it. */
function reasonOf(error: unknown): string {
  return [...new Set(everyError(error).map(({ message }) => message.replace(/\.$/, '')))]
    .slice(0, 4)
    .join(': ');
}

function everyError(error: unknown): { message: string }[] {
  if (!hasMessage(error)) return [];
  const inner = 'errors' in error && Array.isArray(error.errors) ? error.errors : [];
  return [error, ...inner.flatMap(everyError), ...('cause' in error ? everyError(error.cause) : [])];
}

function hasMessage(error: unknown): error is { message: string } {
  return (
    typeof error === 'object' && error !== null && 'message' in error && typeof error.message === 'string'
  );
}
