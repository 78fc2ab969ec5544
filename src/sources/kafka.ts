import { isIP } from 'node:net';
import { Admin, ConnectionPool, Consumer, IS_CONTROL, type KafkaRecord, Producer } from '@platformatic/kafka';
import { waitBriefly } from '../model/pause.js';
import { keepTrying } from './attempts.js';
import { MAX_REASON, sendToDeadLetters } from './dead-letters.js';
import { type Intake, Stopped } from './intake.js';
import type { Message, Refused } from './message.js';
import type { Source, SourceSettings, SourceStatus } from './source.js';

const CLIENT_ID = 'postroom';
const CONNECT_TIMEOUT_MS = 5000;
// A member that died is waited for so long before its partitions are given to others, or to the one that comes back.
const SESSION_TIMEOUT_MS = 10_000;
const HEARTBEAT_MS = 2000;
// Joining is answered when the others have joined too: as late as the session timeout.
const REQUEST_TIMEOUT_MS = 15_000;
// What is in hand at once, but for a record that is larger. A small one takes ten times its size in memory.
const MAX_FETCH_BYTES = 2 * 1024 * 1024;
const MAX_PARTITION_BYTES = 512 * 1024;
const MAX_WAIT_MS = 1000;
const LAG_INTERVAL_MS = 2000;
// What a broker has not answered by then, when the server stops or a session failed, is left.
const CLOSE_TIMEOUT_MS = 3000;
const PRODUCER_RETRIES = 3;
const PRODUCER_RETRY_MS = 250;
const EARLIEST = -2n;
const LATEST = -1n;
const ALL_REPLICAS = -1;
const BROKERS_DEFAULT = -1;
const NO_EPOCH = -1;
const DEFAULT_PORT = 9092;

type Connection = ReturnType<typeof connectionOf>;
type Fetched = Awaited<ReturnType<Consumer['fetch']>>['responses'][number]['partitions'];

interface Taken extends Message {
  readonly partition: number;
  readonly offset: bigint;
  readonly record: KafkaRecord;
}

/**
 * A Kafka topic, read as a consumer group: at least once, in order within a partition, committed when the journal has
 * it. `topic:partition:offset` is the idempotency key where the body has none. A topic that is not there is made. Dead
 * letters: the topic `<topic>.dead`, with the reason in the header `reason`. After `kill -9` the group waits 10 s.
 */
export class KafkaSource implements Source {
  readonly #intake: Intake;
  readonly #settings: SourceSettings;
  #session: Session | undefined;
  #working: Promise<void> | undefined;
  /** Who we were in a session that could not say good-bye. */
  #member: string | null = null;

  constructor(settings: SourceSettings, intake: Intake) {
    this.#settings = settings;
    this.#intake = intake;
  }

  start(): void {
    this.#working ??= keepTrying(this.#intake, 'Kafka cannot be read', () => this.#consume());
  }

  async stop(): Promise<void> {
    this.#intake.stop();
    this.#session?.end(new Stopped());
    await this.#working;
  }

  status(): SourceStatus {
    return { connected: this.#session?.isConsuming ?? false, lag: this.#session?.lag };
  }

  async #consume(): Promise<Error> {
    const session = new Session(this.#settings, this.#intake, this.#member);
    this.#session = session;
    const reason = await session.run();
    this.#member = session.member;
    return new Error(reasonOf(reason), { cause: reason });
  }
}

/** One membership in the group, until something goes wrong. */
class Session {
  isConsuming = false;
  lag: number | undefined;
  end: (reason: unknown) => void = () => undefined;
  readonly #over: Promise<unknown>;
  readonly #connection: Connection;
  readonly #topic: string;
  readonly #intake: Intake;
  readonly #admin: Admin;
  readonly #consumer: Consumer<Buffer, Buffer, Buffer, Buffer>;
  // A broker answers one request of a connection after the other: behind a fetch that waits, heartbeats would wait too.
  readonly #fetching: ConnectionPool;
  #producer: Producer<Buffer, Buffer, Buffer, Buffer> | undefined;
  /** What each partition is read from next. */
  #next = new Map<number, bigint>();
  #isOver = false;
  /** How often we have joined: after each time the partitions may be others. */
  #joins = 0;
  #joined: () => void = () => undefined;
  #asking: NodeJS.Timeout | undefined;

  /** @param member who we were in a session that could not say good-bye: the group need not wait for that one to be dead */
  constructor(settings: SourceSettings, intake: Intake, member: string | null) {
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
    this.#admin = new Admin(this.#connection);
    this.#fetching = new ConnectionPool(CLIENT_ID, this.#connection);
    this.#consumer = new Consumer({
      ...this.#connection,
      groupId: settings.KAFKA_GROUP,
      autocommit: false,
      sessionTimeout: SESSION_TIMEOUT_MS,
      rebalanceTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_MS,
    });
    this.#consumer.memberId = member;
    this.#consumer.topics.track(this.#topic);
    this.#consumer.on('consumer:group:join', () => {
      this.#joins++;
      this.#joined();
    });
    // Joining anew has failed. Without a listener it would end the process.
    this.#consumer.on('error', (error: unknown) => this.end(error));
    // The library sends no heartbeat after one that failed.
    this.#consumer.on('consumer:heartbeat:error', ({ error }) => this.end(error));
  }

  get member(): string | null {
    return this.#consumer.memberId;
  }

  /** Resolves, with why, when it is over. Never rejects. */
  async run(): Promise<unknown> {
    const working = this.#work().catch(error => this.end(error));
    const reason = await this.#over;
    await this.#close(working);
    return reason;
  }

  async #work(): Promise<void> {
    await this.#makeTopics();
    if (this.#isOver) return;
    await this.#consumer.joinGroup({});
    this.isConsuming = !this.#isOver;
    if (this.#isOver) return;
    this.#intake.recovered(`reading the Kafka topic ${this.#topic}`);
    const asking = this.#ask();
    while (!this.#isOver) await this.#readAssigned();
    await asking;
  }

  /** The topic and the one for its dead letters, as large as the broker makes them. */
  async #makeTopics(): Promise<void> {
    const known = await this.#admin.listTopics();
    const topics = [this.#topic, `${this.#topic}.dead`].filter(topic => !known.includes(topic));
    if (topics.length > 0)
      await this.#admin.createTopics({ topics, partitions: BROKERS_DEFAULT, replicas: BROKERS_DEFAULT });
    await this.#admin.close();
  }

  /** Reads the partitions that are ours until they may be others. Those of each broker at their own pace. */
  async #readAssigned(): Promise<void> {
    const joins = this.#joins;
    const isOurs = () => !this.#isOver && joins === this.#joins;
    const rejoined = new Promise<void>(resolve => {
      this.#joined = resolve;
    });
    this.#next = await this.#places();
    const { partitions = [] } = (await this.#metadata()) ?? {};
    const leaders = new Map<number, number[]>();
    for (const partition of this.#next.keys()) {
      const leader = partitions[partition]?.leader;
      if (leader !== undefined) leaders.set(leader, [...(leaders.get(leader) ?? []), partition]);
    }
    const reading = [...leaders].map(([leader, theirs]) =>
      this.#readFrom(leader, theirs, partitions.length, isOurs).catch(error => this.end(error)),
    );
    // All of them end, so that the next to read has nobody beside it. Where there is nothing to read, or a commit came
    // too late, the next joining says what is ours.
    await Promise.all([...reading, Promise.race([rejoined, this.#over])]);
  }

  /** Where the partitions that are ours go on: as committed; at the earliest record where that is gone. */
  async #places(): Promise<Map<number, bigint>> {
    const assigned = this.#consumer.assignments?.find(({ topic }) => topic === this.#topic);
    if (assigned === undefined || assigned.partitions.length === 0) return new Map();
    const topics = [this.#topic];
    const committed = await this.#consumer.listCommittedOffsets({ topics: [assigned] });
    const earliest = await this.#consumer.listOffsets({ topics, timestamp: EARLIEST });
    const latest = await this.#consumer.listOffsets({ topics, timestamp: LATEST });
    const places = new Map<number, bigint>();
    for (const partition of assigned.partitions) {
      const first = earliest.get(this.#topic)?.[partition] ?? 0n;
      const last = latest.get(this.#topic)?.[partition] ?? first;
      const place = committed.get(this.#topic)?.[partition] ?? -1n;
      if (place >= 0n && (place < first || place > last))
        this.#intake.warn('records are gone from the Kafka topic that were not taken');
      places.set(partition, place < first || place > last ? first : place);
    }
    return places;
  }

  async #readFrom(
    leader: number,
    partitions: number[],
    partitionsCount: number,
    isOurs: () => boolean,
  ): Promise<void> {
    while (isOurs()) {
      const topic = await this.#metadata();
      if (topic === undefined) throw new Error(`the topic ${this.#topic} is gone`);
      // Those that were added are nobody's until the group is divided anew.
      if (topic.partitionsCount !== partitionsCount) {
        await this.#consumer.joinGroup({});
        return;
      }
      const fetched = await this.#fetch(leader, topic.id, partitions);
      if (!isOurs()) return;
      // The first one fills the answer as long as it has records.
      partitions.push(...partitions.splice(0, 1));
      if (!(await this.#take(fetched, isOurs))) return;
    }
  }

  async #metadata() {
    const { topics } = await this.#consumer.metadata({ topics: [this.#topic] });
    return topics.get(this.#topic);
  }

  async #fetch(leader: number, topicId: string, partitions: readonly number[]): Promise<Fetched> {
    const { responses } = await this.#consumer.fetch({
      node: leader,
      connectionPool: this.#fetching,
      maxBytes: MAX_FETCH_BYTES,
      maxWaitTime: MAX_WAIT_MS,
      topics: [
        {
          topicId,
          partitions: partitions.map(partition => ({
            partition,
            fetchOffset: this.#next.get(partition) ?? 0n,
            partitionMaxBytes: MAX_PARTITION_BYTES,
            currentLeaderEpoch: NO_EPOCH,
            lastFetchedEpoch: NO_EPOCH,
          })),
        },
      ],
    });
    return responses.flatMap(response => response.partitions);
  }

  /** Whether what was fetched is in the journal and committed; false where others may have it now. */
  async #take(fetched: Fetched, isOurs: () => boolean): Promise<boolean> {
    const records: Taken[] = [];
    const next = new Map<number, bigint>();
    for (const { partitionIndex: partition, records: batches = [] } of fetched) {
      const from = this.#next.get(partition) ?? 0n;
      for (const batch of batches) {
        // What a transaction leaves behind, and what compaction has removed, is gone past too.
        next.set(partition, batch.firstOffset + BigInt(batch.lastOffsetDelta) + 1n);
        if (batch.attributes & IS_CONTROL) continue;
        for (const record of batch.records) {
          const offset = batch.firstOffset + BigInt(record.offsetDelta);
          // A batch comes whole, also where we begin in its middle.
          if (offset >= from) records.push(this.#messageOf(record, partition, offset));
        }
      }
    }
    if (next.size === 0) return true;
    const refused = await this.#intake.take(records);
    if (!this.#isCommittable(isOurs)) return false;
    await sendToDeadLetters(
      this.#intake,
      refused,
      deadLetter => this.#sendDeadLetter(deadLetter),
      () => !this.#isCommittable(isOurs),
    );
    if (!this.#isCommittable(isOurs) || !(await this.#commit(next))) return false;
    for (const [partition, offset] of next) this.#next.set(partition, offset);
    return true;
  }

  /** What is in the journal is committed also when the server stops, so that the next one does not bring it again. */
  #isCommittable(isOurs: () => boolean): boolean {
    return isOurs() || this.#intake.stopping.aborted;
  }

  #messageOf(record: KafkaRecord, partition: number, offset: bigint): Taken {
    // A record without a value is what compaction knows as deleted; here it says nothing.
    const body = record.value ?? Buffer.alloc(0);
    return { record, partition, offset, body, key: `${this.#topic}:${partition}:${offset}` };
  }

  async #commit(next: ReadonlyMap<number, bigint>): Promise<boolean> {
    const offsets = [...next].map(([partition, offset]) => ({
      topic: this.#topic,
      partition,
      offset,
      leaderEpoch: NO_EPOCH,
    }));
    try {
      await this.#consumer.commit({ offsets });
      return true;
    } catch (error) {
      // The group is just being divided anew. Who gets them reads them again, and their keys are known.
      if (needsRejoin(error)) return false;
      throw error;
    }
  }

  async #sendDeadLetter(letter: Refused<Taken>): Promise<void> {
    try {
      await this.#send(letter, Buffer.from(letter.body));
    } catch (error) {
      // With its reason it is a little larger than it was. It can still be read at its offset.
      if (!everyError(error).some(one => 'apiId' in one && one.apiId === 'MESSAGE_TOO_LARGE')) throw error;
      await this.#send(letter, Buffer.alloc(0));
    }
  }

  async #send(letter: Refused<Taken>, value: Buffer): Promise<void> {
    const { record, partition, offset } = letter.message;
    const told = {
      reason: letter.reason.slice(0, MAX_REASON),
      topic: this.#topic,
      partition: String(partition),
      offset: String(offset),
    };
    const headers = [...record.headers, ...Object.entries(told)] as const;
    // A topic that was just made is not known everywhere at once.
    this.#producer ??= new Producer({
      ...this.#connection,
      retries: PRODUCER_RETRIES,
      retryDelay: PRODUCER_RETRY_MS,
    });
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

  /** Asks how many records there are, again and again. */
  async #ask(): Promise<void> {
    try {
      const latest = await this.#consumer.listOffsets({ topics: [this.#topic], timestamp: LATEST });
      const behind = [...this.#next].map(([partition, next]) =>
        Number((latest.get(this.#topic)?.[partition] ?? next) - next),
      );
      this.lag = behind.reduce((sum, records) => sum + Math.max(records, 0), 0);
    } catch {
      // It is a figure only: what is wrong is told by what reads.
      this.lag = undefined;
    }
    if (!this.#isOver) this.#asking = setTimeout(() => void this.#ask(), LAG_INTERVAL_MS);
  }

  /** Lets what is under way end and leaves the group, so that the next one has not to wait for us. */
  async #close(working: Promise<unknown>): Promise<void> {
    clearTimeout(this.#asking);
    // A fetch that waits for records is not waited for.
    await this.#fetching.close();
    const left = working.then(() => this.#consumer.close(true));
    await waitBriefly(left, CLOSE_TIMEOUT_MS);
    // What is still under way fails now. A consumer that could not leave would keep its connections.
    await Promise.all([this.#admin.close(), this.#producer?.close(), this.#consumer.connections.close()]);
    await working;
  }
}

function connectionOf(settings: SourceSettings) {
  const { KAFKA_BROKERS, KAFKA_TLS, KAFKA_SASL_MECHANISM } = settings;
  const brokers = KAFKA_BROKERS.map(brokerOf);
  const { KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = settings;
  return {
    clientId: CLIENT_ID,
    bootstrapBrokers: brokers,
    connectTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // A session that fails is followed by another one: that is the trying again.
    retries: 0,
    // Hosted brokers are told apart by the name that TLS asks for, which must not be an address.
    ...(KAFKA_TLS && { tls: {}, tlsServerName: brokers.every(({ host }) => isIP(host) === 0) }),
    ...(username !== undefined &&
      password !== undefined && { sasl: { mechanism: KAFKA_SASL_MECHANISM, username, password } }),
  };
}

/** The library would cut an IPv6 address at its first colon. */
function brokerOf(text: string): { host: string; port: number } {
  const [, host = text, port = DEFAULT_PORT] = /^\[?(.*?)\]?:(\d+)$/.exec(text) ?? [];
  return { host, port: Number(port) };
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
