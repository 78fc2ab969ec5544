import { afterAll, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { Admin, Consumer, Producer } from '@platformatic/kafka';
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

/** So many of a topic's records, from its beginning. */
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

  it('keeps the order of each of its partitions', async () => {
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [broker.brokers] });
    await admin.createTopics({ topics: [topic], partitions: 3, replicas: 1 });
    await admin.close();
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
        reason: expect.stringMatching(/a room name is/),
      },
    });
  });

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
