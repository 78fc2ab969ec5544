import { Admin, Consumer } from '@platformatic/kafka';
import { waitBriefly } from '../model/pause.js';
import { sendToDeadLetters } from './dead-letters.js';
import type { Intake } from './intake.js';
import { connectionOf } from './kafka-connection.js';
import { KafkaDeadLetters } from './kafka-dead-letters.js';
import { explained, isRebalancing } from './kafka-error.js';
import { type FetchedRecord, type KafkaConsumer, KafkaFetcher, type Offsets } from './kafka-fetch.js';
import { Session } from './session.js';
import type { SourceSettings } from './source.js';

// When a member dies, its partitions wait so long. Then another member gets them, or the same member again.
const SESSION_TIMEOUT_MS = 10_000;
const HEARTBEAT_MS = 2000;
// A close waits no longer than this for a broker that does not answer.
const CLOSE_TIMEOUT_MS = 3000;
const EARLIEST = -2n;
const LATEST = -1n;
const BROKERS_DEFAULT = -1;
const NO_EPOCH = -1;

/** One membership in the consumer group. */
export class KafkaSession extends Session {
  lag: number | undefined;
  readonly #topic: string;
  readonly #admin: Admin;
  readonly #consumer: KafkaConsumer;
  readonly #fetcher: KafkaFetcher;
  readonly #deadLetters: KafkaDeadLetters;
  /** Where to read on in each assigned partition. */
  #offsets: Offsets = new Map();
  /** How often this member has joined the group. Each time it may get other partitions. */
  #joins = 0;
  #joined: () => void = () => undefined;

  /** @param member the member id of the session before: if it could not leave, the group need not wait for it */
  constructor(settings: SourceSettings, intake: Intake, member: string | null) {
    super(intake);
    const { KAFKA_TOPIC: topic, KAFKA_GROUP: groupId } = settings;
    const connection = connectionOf(settings);
    this.#topic = topic;
    this.#admin = new Admin(connection);
    this.#consumer = new Consumer({
      ...connection,
      groupId,
      autocommit: false,
      sessionTimeout: SESSION_TIMEOUT_MS,
      rebalanceTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_MS,
    });
    this.#fetcher = new KafkaFetcher(this.#consumer, connection, topic);
    this.#deadLetters = new KafkaDeadLetters(connection, topic);
    this.#consumer.memberId = member;
    this.#consumer.topics.track(topic);
    this.#consumer.on('consumer:group:join', () => {
      this.#joins++;
      this.#joined();
    });
    // Rejoining has failed. Without a listener, this event would end the process.
    this.#consumer.on('error', (error: unknown) => this.end(error));
    // After a failed heartbeat the library sends no more heartbeats.
    this.#consumer.on('consumer:heartbeat:error', ({ error }) => this.end(error));
  }

  get member(): string | null {
    return this.#consumer.memberId;
  }

  override async run(): Promise<Error> {
    return explained(await super.run());
  }

  protected async work(): Promise<void> {
    await this.#makeTopics();
    if (this.isOver) return;
    await this.#consumer.joinGroup({});
    this.begin(`reading the Kafka topic ${this.#topic}`, () => this.#measureLag());
    while (!this.isOver) await this.#readAssigned();
  }

  /** Leaves the group, so that its other members get the partitions at once. */
  protected async close(working: Promise<void>): Promise<void> {
    await this.#fetcher.close();
    const left = working.then(() => this.#consumer.close(true));
    await waitBriefly(left, CLOSE_TIMEOUT_MS);
    // Ends the requests that are still under way. A consumer that could not leave would keep its connections.
    await Promise.all([this.#admin.close(), this.#deadLetters.close(), this.#consumer.connections.close()]);
    await working;
  }

  /** Makes the topic and the topic of its dead letters if they are missing, with the defaults of the broker. */
  async #makeTopics(): Promise<void> {
    const known = await this.#admin.listTopics();
    const topics = [this.#topic, `${this.#topic}.dead`].filter(topic => !known.includes(topic));
    if (topics.length > 0)
      await this.#admin.createTopics({ topics, partitions: BROKERS_DEFAULT, replicas: BROKERS_DEFAULT });
    await this.#admin.close();
  }

  /** Reads the assigned partitions until a rebalance; one loop for each broker. */
  async #readAssigned(): Promise<void> {
    const joins = this.#joins;
    const isOurs = () => !this.isOver && joins === this.#joins;
    const rejoined = new Promise<void>(resolve => {
      this.#joined = resolve;
    });
    this.#offsets = await this.#startOffsets();
    const { partitions = [] } = (await this.#metadata()) ?? {};
    const byLeader = new Map<number, number[]>();
    for (const partition of this.#offsets.keys()) {
      const leader = partitions[partition]?.leader;
      if (leader !== undefined) byLeader.set(leader, [...(byLeader.get(leader) ?? []), partition]);
    }
    const loops = [...byLeader].map(([leader, assigned]) =>
      this.#readFrom(leader, assigned, partitions.length, isOurs).catch(error => this.end(error)),
    );
    // Waits for all loops: so no two loops read the same partition. Waits for the rebalance too: a loop may end before
    // the rebalance, and a member without partitions has no loop.
    await Promise.all([...loops, Promise.race([rejoined, this.over])]);
  }

  /**
   * Where to read on in each assigned partition: at the committed offset. At the earliest offset if nothing is
   * committed, or if the record at the committed offset was deleted.
   */
  async #startOffsets(): Promise<Offsets> {
    const assigned = this.#consumer.assignments?.find(({ topic }) => topic === this.#topic);
    if (assigned === undefined || assigned.partitions.length === 0) return new Map();
    const topics = [this.#topic];
    const committed = await this.#consumer.listCommittedOffsets({ topics: [assigned] });
    const earliest = await this.#consumer.listOffsets({ topics, timestamp: EARLIEST });
    const latest = await this.#consumer.listOffsets({ topics, timestamp: LATEST });
    const offsets: Offsets = new Map();
    for (const partition of assigned.partitions) {
      const first = earliest.get(this.#topic)?.[partition] ?? 0n;
      const last = latest.get(this.#topic)?.[partition] ?? first;
      // Negative if nothing is committed.
      const offset = committed.get(this.#topic)?.[partition] ?? -1n;
      const isThere = offset >= first && offset <= last;
      if (!isThere && offset >= 0n)
        this.intake.warn('records are gone from the Kafka topic that were not taken');
      offsets.set(partition, isThere ? offset : first);
    }
    return offsets;
  }

  /** Reads partitions from the broker that leads them. @param partitionsCount how many the topic had at the join */
  async #readFrom(
    leader: number,
    partitions: number[],
    partitionsCount: number,
    isOurs: () => boolean,
  ): Promise<void> {
    while (isOurs()) {
      const topic = await this.#metadata();
      if (topic === undefined) throw new Error(`the topic ${this.#topic} is gone`);
      // Somebody has added partitions. The group gives them to nobody until a member joins again.
      if (topic.partitionsCount !== partitionsCount) {
        await this.#consumer.joinGroup({});
        return;
      }
      const from = new Map(partitions.map(partition => [partition, this.#offsets.get(partition) ?? 0n]));
      const { records, next } = await this.#fetcher.fetch(leader, topic.id, from);
      if (!isOurs()) return;
      // The first partition may fill the whole answer. So each partition is the first one in its turn.
      partitions.push(...partitions.splice(0, 1));
      if (next.size > 0 && !(await this.#take(records, next, isOurs))) return;
    }
  }

  async #metadata() {
    const { topics } = await this.#consumer.metadata({ topics: [this.#topic] });
    return topics.get(this.#topic);
  }

  /** Resolves to whether the records are committed. If not, another member may have the partitions now. */
  async #take(records: FetchedRecord[], next: Offsets, isOurs: () => boolean): Promise<boolean> {
    // At a stop, records that are in the journal are committed too: otherwise the next process would take them again.
    const isCommittable = () => isOurs() || this.intake.stopping.aborted;
    const refused = await this.intake.take(records);
    if (!isCommittable()) return false;
    await sendToDeadLetters(
      this.intake,
      refused,
      deadLetter => this.#deadLetters.send(deadLetter),
      () => !isCommittable(),
    );
    if (!isCommittable() || !(await this.#commit(next))) return false;
    for (const [partition, offset] of next) this.#offsets.set(partition, offset);
    return true;
  }

  /** Resolves to false if the commit comes too late: a rebalance has begun. */
  async #commit(next: Offsets): Promise<boolean> {
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
      // The member that gets the partitions reads these records again. Their keys are known, so nothing is sent twice.
      if (isRebalancing(error)) return false;
      throw error;
    }
  }

  async #measureLag(): Promise<void> {
    try {
      const latest = await this.#consumer.listOffsets({ topics: [this.#topic], timestamp: LATEST });
      const behind = [...this.#offsets].map(([partition, offset]) =>
        Number((latest.get(this.#topic)?.[partition] ?? offset) - offset),
      );
      this.lag = behind.reduce((sum, records) => sum + Math.max(records, 0), 0);
    } catch {
      // The reading loops meet the same fault and report it.
      this.lag = undefined;
    }
  }
}
