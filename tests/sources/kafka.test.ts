import { afterAll, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { Admin, Consumer, Producer } from '@platformatic/kafka';
import { pino } from 'pino';
import { readConfig } from '../../src/config.js';
import { notificationParser } from '../../src/model/notification.js';
import { Intake } from '../../src/sources/intake.js';
import { KafkaSource } from '../../src/sources/kafka.js';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { connect } from '../support/client.js';
import { untilReport } from '../support/health.js';
import { type KafkaServer, startKafka } from '../support/kafka-server.js';
import { describeWith } from '../support/requires.js';
import { startServer } from '../support/server.js';
import { sourceContract } from './source-contract.js';

const ALL_REPLICAS = -1;
let topics = 0;
function newTopic(): string {
  return `topic-${topics++}-${Math.random()}`;
}

function producerAt(broker: KafkaServer) {
  return new Producer({
    clientId: 'test',
    bootstrapBrokers: [broker.brokers],
    acks: ALL_REPLICAS,
    autocreateTopics: true,
  });
}

/** Reads so many records of a topic, from the beginning. */
async function read(broker: KafkaServer, topic: string, count: number) {
  const consumer = new Consumer({
    clientId: 'test',
    groupId: `test-${Math.random()}`,
    bootstrapBrokers: [broker.brokers],
  });
  const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false });
  const records = [];
  for await (const record of stream) if (records.push(record) === count) break;
  await consumer.close(true);
  return records.map(({ value, key, headers }) => ({
    body: String(value),
    key: key === undefined ? undefined : String(key),
    headers: Object.fromEntries([...headers].map(([name, text]) => [String(name), String(text)])),
  }));
}

sourceContract({ name: 'kafka', needs: ['kafka'], keeps: true }, async () => {
  const broker = await startKafka();
  const producer = producerAt(broker);
  let topic = newTopic();
  return {
    get settings() {
      return { KAFKA_BROKERS: broker.brokers, KAFKA_TOPIC: topic, KAFKA_GROUP: topic };
    },
    async send(body) {
      await producer.send({ messages: [{ topic, value: Buffer.from(body) }] });
    },
    async deadLetters(count) {
      const dead = await read(broker, `${topic}.dead`, count);
      return dead.map(({ body, headers }) => ({ body, reason: String(headers.reason) }));
    },
    async renew() {
      topic = newTopic();
    },
    async close() {
      await producer.close();
      await broker.stop();
    },
  };
});

describeWith(['kafka'], 'a Kafka topic', () => {
  let broker: KafkaServer;
  let producer: ReturnType<typeof producerAt>;
  let topic: string;
  beforeAll(async () => {
    broker = await startKafka();
    producer = producerAt(broker);
  }, BROKER_TIMEOUT);
  afterAll(() => producer.close());
  beforeEach(() => {
    topic = newTopic();
  });

  async function listen(settings: Record<string, string> = {}) {
    const server = await startServer({
      KAFKA_BROKERS: broker.brokers,
      KAFKA_TOPIC: topic,
      KAFKA_GROUP: topic,
      ...settings,
    });
    await untilReport(server, ({ sources }) => sources.kafka?.connected === true);
    const client = await connect(server.ws('?room=public.a'));
    await client.nextOf('subscribed');
    return { server, client };
  }
  const record = (body: object, fields: object = {}) => ({
    topic,
    value: Buffer.from(JSON.stringify({ room: 'public.a', event: 'e', ...body })),
    ...fields,
  });

  it('takes the place of a record as the key where the body has none', async () => {
    const { server, client } = await listen();
    await producer.send({
      messages: [record({ data: 1 }), record({ data: 2, key: 'own' }), record({ data: 3, key: 'own' })],
    });
    for (const data of [1, 2]) expect(await client.next()).toMatchObject({ data });
    await untilReport(server, ({ sources }) => sources.kafka?.taken === 3);
    for (const key of [`${topic}:0:0`, 'own'])
      expect(await server.notify({ room: 'public.a', event: 'e', key })).toMatchObject({ duplicate: true });
    await client.quiet();
  });

  async function administrate(work: (admin: Admin) => Promise<unknown>): Promise<void> {
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [broker.brokers] });
    await work(admin).finally(() => admin.close());
  }

  /** The source alone. `publish` stands for the journal. */
  function sourceAt(topic: string, publish: (notification: { data: string }) => Promise<void>): KafkaSource {
    const config = readConfig({ KAFKA_BROKERS: broker.brokers, KAFKA_TOPIC: topic, KAFKA_GROUP: topic });
    const maxNotificationBytes = config.MAX_NOTIFICATION_BYTES;
    const intake = new Intake({
      name: 'kafka',
      postroom: {
        async accept(notification) {
          await publish(notification);
          return { id: '1-0', connections: 0, duplicate: false };
        },
      },
      parse: notificationParser({ maxBytes: maxNotificationBytes, retentionSeconds: 600, now: Date.now }),
      maxNotificationBytes,
      sharedJournal: false,
      now: Date.now,
      log: pino({ level: 'silent' }),
    });
    return new KafkaSource({ ...config, sharedJournal: false }, intake);
  }

  it('keeps the order of each of its partitions', async () => {
    await administrate(admin => admin.createTopics({ topics: [topic], partitions: 3, replicas: 1 }));
    const { client } = await listen();
    for (let n = 0; n < 100; n++)
      await producer.send({
        messages: [0, 1, 2].map(partition => record({ data: [partition, n] }, { partition })),
      });
    const heard: number[][] = [[], [], []];
    for (let n = 0; n < 300; n++) {
      const [partition = 0, number = 0] = (await client.next()).data as number[];
      heard[partition]?.push(number);
    }
    for (const numbers of heard) expect(numbers).toEqual(Array.from({ length: 100 }, (_, n) => n));
  });

  it('keeps what is known of a record with its dead letter', async () => {
    const { server } = await listen();
    const headers = new Map([[Buffer.from('tenant'), Buffer.from('x')]]);
    await producer.send({
      messages: [record({ room: 'no room' }, { key: Buffer.from('order 42'), headers })],
    });
    await untilReport(server, ({ sources }) => sources.kafka?.refused === 1);
    const [dead] = await read(broker, `${topic}.dead`, 1);
    expect(dead).toEqual({
      body: JSON.stringify({ room: 'no room', event: 'e' }),
      key: 'order 42',
      headers: {
        tenant: 'x',
        topic,
        partition: '0',
        offset: '0',
        reason: expect.stringMatching(/must be a room name/),
      },
    });
  });

  it('commits what was taken when it stops in the middle, so that nothing comes twice even to an empty journal', async () => {
    const count = 20_000;
    for (let n = 0; n < count; n += 1000)
      await producer.send({
        messages: Array.from({ length: 1000 }, (_, more) => record({ data: n + more })),
      });
    const heard: string[] = [];
    let stopIn = () => {};
    const someHeard = new Promise<void>(resolve => {
      stopIn = resolve;
    });
    const first = sourceAt(topic, async ({ data }) => {
      heard.push(data);
      if (heard.length === 2000) stopIn();
      // The journal is slow, so that the stop comes in the middle of a fetch.
      await new Promise(resolve => setImmediate(resolve));
    });
    first.start();
    await someHeard;
    await first.stop();
    expect(heard.length).toBeLessThan(count);

    let end = () => {};
    const allHeard = new Promise<void>(resolve => {
      end = resolve;
    });
    const second = sourceAt(topic, async ({ data }) => {
      if (heard.push(data) >= count) end();
    });
    second.start();
    await allHeard;
    await second.stop();
    expect(heard).toEqual(Array.from({ length: count }, (_, n) => String(n)));
  });

  it('goes on where the topic begins now, and says so, when what comes next was deleted', async () => {
    const { server } = await listen();
    await producer.send({ messages: [0, 1, 2].map(data => record({ data })) });
    await untilReport(server, ({ sources }) => sources.kafka?.taken === 3);
    await server.stop();
    await producer.send({ messages: [3, 4, 5, 6].map(data => record({ data })) });
    await administrate(admin =>
      admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 5n }] }] }),
    );
    const later = await startServer({
      KAFKA_BROKERS: broker.brokers,
      KAFKA_TOPIC: topic,
      KAFKA_GROUP: topic,
    });
    await untilReport(
      later,
      ({ sources }) =>
        sources.kafka?.taken === 2 && /gone from the Kafka topic/.test(sources.kafka.lastError?.reason ?? ''),
    );
  });

  it(
    'reads partitions that are added',
    async () => {
      await administrate(admin => admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 }));
      const { client } = await listen();
      await administrate(admin => admin.createPartitions({ topics: [{ name: topic, count: 3 }] }));
      const late = producerAt(broker);
      await late.send({ messages: [record({ data: 'new' }, { partition: 2 })] });
      await late.close();
      expect(await client.next()).toMatchObject({ data: 'new' });
    },
    BROKER_TIMEOUT,
  );

  it('tells its lag', async () => {
    const { server } = await listen();
    await producer.send({ messages: [record({ data: 1 })] });
    await untilReport(server, ({ sources }) => sources.kafka?.taken === 1 && sources.kafka.lag === 0);
  });

  it('is divided among servers, and taken over by the other one when one stops, without loss or double', async () => {
    const first = await listen({ JOURNAL: 'memory' });
    await producer.send({ messages: [record({ data: 1 })] });
    expect(await first.client.next()).toMatchObject({ data: 1 });
    await untilReport(first.server, ({ sources }) => sources.kafka?.lag === 0);
    await first.server.stop();
    const second = await listen();
    await producer.send({ messages: [record({ data: 2 })] });
    expect(await second.client.next()).toMatchObject({ data: 2 });
    await second.client.quiet();
  });
});

describeWith(['own-kafka'], 'a Kafka that is away', () => {
  it(
    'is waited for, at the start and later; what it acknowledged comes once and in order',
    async () => {
      const broker = await startKafka();
      await broker.stop();
      const server = await startServer({ KAFKA_BROKERS: broker.brokers });
      await untilReport(server, ({ sources }) => /ECONNREFUSED/.test(sources.kafka?.lastError?.reason ?? ''));
      expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
      const client = await connect(server.ws('?room=public.a'));
      await client.nextOf('subscribed');
      await broker.restart();
      await untilReport(server, ({ status }) => status === 'ok');
      const producer = producerAt(broker);
      for (let n = 0; n < 100; n += 10)
        await producer.send({
          messages: Array.from({ length: 10 }, (_, more) => ({
            topic: 'postroom',
            value: Buffer.from(JSON.stringify({ room: 'public.a', event: 'e', data: n + more })),
          })),
        });
      await producer.close();
      await broker.kill();
      await broker.restart();
      for (let n = 0; n < 100; n++) expect(await client.next()).toMatchObject({ data: n });
      await client.quiet();
    },
    2 * BROKER_TIMEOUT,
  );
});
