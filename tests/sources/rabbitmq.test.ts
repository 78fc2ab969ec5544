import { type Channel, type ChannelModel, connect as connectBroker } from 'amqplib';
import { afterAll, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { pino } from 'pino';
import { readConfig } from '../../src/config.js';
import { notificationParser } from '../../src/model/notification.js';
import { Intake, type IntakeOptions } from '../../src/sources/intake.js';
import { RabbitMqSource } from '../../src/sources/rabbitmq.js';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { connect } from '../support/client.js';
import { untilReport } from '../support/health.js';
import { type RabbitmqServer, startRabbitmq } from '../support/rabbitmq-server.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET, KEY, startServer } from '../support/server.js';
import { sourceContract } from './source-contract.js';

let queues = 0;
function newQueue(): string {
  return `queue-${queues++}-${Math.random()}`;
}

async function open(broker: RabbitmqServer): Promise<{ connection: ChannelModel; channel: Channel }> {
  const connection = await connectBroker(broker.url);
  return { connection, channel: await connection.createChannel() };
}

/** Takes all messages out of a queue, oldest first. */
async function drain(channel: Channel, queue: string) {
  const messages = [];
  for (;;) {
    const message = await channel.get(queue, { noAck: true });
    if (message === false) return messages;
    messages.push(message);
  }
}

/** A source alone. `accept` stands for the journal. */
function openSource(broker: RabbitmqServer, queue: string, accept: IntakeOptions['postroom']['accept']) {
  const config = readConfig({
    NOTIFY_KEYS: KEY,
    JWT_SECRET,
    RABBITMQ_URL: broker.url,
    RABBITMQ_QUEUE: queue,
    RABBITMQ_PREFETCH: '7',
  });
  const limit = config.MAX_NOTIFICATION_BYTES;
  const intake = new Intake({
    name: 'rabbitmq',
    postroom: { accept },
    parse: notificationParser({ maxBytes: limit, retentionSeconds: config.RETENTION_SECONDS, now: Date.now }),
    maxNotificationBytes: limit,
    sharedJournal: false,
    now: Date.now,
    log: pino({ level: 'silent' }),
  });
  return new RabbitMqSource({ ...config, sharedJournal: false }, intake);
}

sourceContract({ name: 'rabbitmq', needs: ['rabbitmq'], keeps: true }, async () => {
  const broker = await startRabbitmq();
  const { connection, channel } = await open(broker);
  let queue = newQueue();
  return {
    get settings() {
      return { RABBITMQ_URL: broker.url, RABBITMQ_QUEUE: queue };
    },
    async send(body) {
      channel.sendToQueue(queue, Buffer.from(body), { persistent: true });
    },
    async deadLetters(count) {
      const messages = [];
      while (messages.length < count) messages.push(...(await drain(channel, `${queue}.dead`)));
      return messages.map(({ content, properties }) => ({
        body: String(content),
        reason: String(properties.headers?.['x-reason']),
      }));
    },
    async renew() {
      queue = newQueue();
    },
    async close() {
      await connection.close();
      await broker.stop();
    },
  };
});

describeWith(['rabbitmq'], 'a RabbitMQ queue', () => {
  let broker: RabbitmqServer;
  let channel: Channel;
  let connection: ChannelModel;
  let queue: string;
  beforeAll(async () => {
    broker = await startRabbitmq();
    ({ connection, channel } = await open(broker));
  }, BROKER_TIMEOUT);
  afterAll(() => connection.close());
  beforeEach(() => {
    queue = newQueue();
  });

  async function listen(settings: Record<string, string> = {}) {
    const server = await startServer({ RABBITMQ_URL: broker.url, RABBITMQ_QUEUE: queue, ...settings });
    await untilReport(server, ({ sources }) => sources.rabbitmq?.connected === true);
    const client = await connect(server.ws('?room=public.a'));
    await client.nextOf('subscribed');
    return { server, client };
  }
  const send = (body: object, options: object = {}) =>
    channel.sendToQueue(
      queue,
      Buffer.from(JSON.stringify({ room: 'public.a', event: 'e', ...body })),
      options,
    );

  it('takes message_id as the key where the body has none', async () => {
    const { server, client } = await listen();
    send({ data: 1 }, { messageId: 'id' });
    send({ data: 2 }, { messageId: 'id' });
    send({ data: 3, key: 'own' }, { messageId: 'id' });
    send({ data: 4 }, { messageId: 'm'.repeat(255) });
    for (const data of [1, 3, 4]) expect(await client.next()).toMatchObject({ data });
    const again = await server.notify({ room: 'public.a', event: 'e', key: 'id' });
    expect(again.duplicate).toBe(true);
  });

  it('is made durable, with a single active consumer, and its dead letters beside it', async () => {
    await listen();
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-single-active-consumer': true } });
    await channel.assertQueue(`${queue}.dead`, { durable: true });
  });

  it('is taken as it is where it is there already', async () => {
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-max-length': 1000 } });
    send({ data: 'before' });
    const { client } = await listen();
    send({ data: 'after' });
    const heard = [(await client.next()).data];
    if (heard[0] === 'before') heard.push((await client.next()).data);
    expect(heard.at(-1)).toBe('after');
  });

  it('keeps what is known of a message with its dead letter', async () => {
    const { server } = await listen();
    send({ room: 'no room' }, { messageId: 'id', contentType: 'application/json', headers: { tenant: 'x' } });
    await untilReport(server, ({ sources }) => sources.rabbitmq?.refused === 1);
    await untilReport(server, ({ sources }) => sources.rabbitmq?.lag === 0);
    const [dead] = await drain(channel, `${queue}.dead`);
    expect(dead?.properties).toMatchObject({
      messageId: 'id',
      contentType: 'application/json',
      deliveryMode: 2,
      headers: { tenant: 'x', 'x-queue': queue, 'x-reason': expect.stringMatching(/must be a room name/) },
    });
  });

  it('keeps its messages where the queue of the dead letters is deleted under us', async () => {
    const { server } = await listen();
    await channel.deleteQueue(`${queue}.dead`);
    send({ room: 'no room' });
    await untilReport(server, ({ sources }) => sources.rabbitmq?.refused === 2);
    await untilReport(server, ({ sources }) => sources.rabbitmq?.lag === 0);
    expect(await drain(channel, `${queue}.dead`)).toHaveLength(1);
  });

  it('sends no dead letter to the queues that a message was copied to', async () => {
    const { server } = await listen();
    const other = newQueue();
    await channel.assertQueue(other);
    // CC brings a copy to our queue. With CC, its dead letter would come to our queue again and again.
    channel.sendToQueue(other, Buffer.from('wrong'), { CC: [queue, other] });
    await untilReport(server, ({ sources }) => sources.rabbitmq?.refused === 1);
    await untilReport(server, ({ sources }) => sources.rabbitmq?.lag === 0);
    expect(await drain(channel, `${queue}.dead`)).toHaveLength(1);
    expect(await drain(channel, other)).toHaveLength(1);
  });

  it('has no more than the prefetch under way while the journal cannot write', async () => {
    await channel.assertQueue(queue, { durable: true });
    for (let n = 0; n < 50; n++) send({ data: n });
    await channel.checkQueue(queue);
    let tried = () => {};
    const isTriedAgain = new Promise<void>(resolve => {
      let calls = 0;
      tried = () => ++calls > 2 && resolve();
    });
    const source = openSource(broker, queue, () => {
      tried();
      return Promise.reject(new Error('stuck'));
    });
    source.start();
    await isTriedAgain;
    expect((await channel.checkQueue(queue)).messageCount).toBe(43);
    await source.stop();
    expect((await channel.checkQueue(queue)).messageCount).toBe(50);
  });

  it('has what the journal was writing at a stop acknowledged', async () => {
    let write = () => {};
    let begin = () => {};
    const hasBegun = new Promise<void>(resolve => {
      begin = resolve;
    });
    const source = openSource(broker, queue, () => {
      begin();
      return new Promise(resolve => {
        write = () => resolve({ id: '1-0', connections: 0, duplicate: false });
      });
    });
    await channel.assertQueue(queue, { durable: true });
    send({ data: 'without a key' });
    source.start();
    await hasBegun;
    const stopped = source.stop();
    write();
    await stopped;
    expect((await channel.checkQueue(queue)).messageCount).toBe(0);
  });

  it('is read by one server at a time, and by the other one when that stops', async () => {
    const first = await listen();
    const second = await listen();
    send({ data: 1 });
    expect(await first.client.next()).toMatchObject({ data: 1 });
    await second.client.quiet();
    await first.server.stop();
    send({ data: 2 });
    expect(await second.client.next()).toMatchObject({ data: 2 });
  });

  it('is made again where it is deleted under us', async () => {
    const { server, client } = await listen();
    await channel.deleteQueue(queue);
    await untilReport(server, ({ sources }) => sources.rabbitmq?.lastError !== undefined);
    await untilReport(server, ({ sources }) => sources.rabbitmq?.connected === true);
    send({ data: 'after' });
    expect(await client.next()).toMatchObject({ data: 'after' });
    expect(server.logged.filter(({ msg }) => msg === 'RabbitMQ cannot be read')).toEqual([
      expect.objectContaining({ reason: `the queue ${queue} was deleted` }),
    ]);
  });

  it('is told of in the health report: a password that is wrong, without the password', async () => {
    const url = broker.url.replace('guest:guest', 'guest:a-wrong-password');
    const server = await startServer({ RABBITMQ_URL: url });
    const { status, sources } = await untilReport(
      server,
      report => report.sources.rabbitmq?.lastError !== undefined,
    );
    expect(status).toBe('degraded');
    expect(sources.rabbitmq?.lastError?.reason).toMatch(/ACCESS.REFUSED/);
    expect(JSON.stringify([sources, server.logged])).not.toContain('a-wrong-password');
  });

  it('is told of in the health report: a virtual host that is not there', async () => {
    const server = await startServer({ RABBITMQ_URL: `${broker.url}/nowhere` });
    await untilReport(server, ({ sources }) =>
      /virtual host .* is not there/.test(sources.rabbitmq?.lastError?.reason ?? ''),
    );
  });
});

describeWith(['own-rabbitmq'], 'a RabbitMQ that is away', () => {
  it(
    'holds up no stop when it hangs',
    async () => {
      const broker = await startRabbitmq();
      const server = await startServer({ RABBITMQ_URL: broker.url });
      await untilReport(server, ({ sources }) => sources.rabbitmq?.connected === true);
      broker.pause();
      const started = performance.now();
      await server.stop();
      // Without the stop, a missed heartbeat would end the connection after 20 seconds.
      expect(performance.now() - started).toBeLessThan(10_000);
      broker.resume();
    },
    BROKER_TIMEOUT,
  );

  it(
    'is waited for, at the start and later; what it confirmed comes once and in order',
    async () => {
      const broker = await startRabbitmq();
      await broker.stop();
      const server = await startServer({ RABBITMQ_URL: broker.url });
      await untilReport(server, ({ sources }) =>
        /ECONNREFUSED/.test(sources.rabbitmq?.lastError?.reason ?? ''),
      );
      expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
      const client = await connect(server.ws('?room=public.a'));
      await client.nextOf('subscribed');
      for (let round = 0; round < 2; round++) {
        await broker.restart();
        await untilReport(server, ({ status }) => status === 'ok');
        const connection = await connectBroker(broker.url);
        connection.on('error', () => undefined);
        const confirmed = await connection.createConfirmChannel();
        for (let n = 0; n < 100; n++)
          confirmed.sendToQueue(
            'postroom',
            Buffer.from(JSON.stringify({ room: 'public.a', event: 'e', data: n })),
            {
              persistent: true,
              messageId: `${round}:${n}`,
            },
          );
        await confirmed.waitForConfirms();
        await broker.kill();
        await broker.restart();
        for (let n = 0; n < 100; n++) expect(await client.next()).toMatchObject({ data: n });
        await broker.kill();
        await untilReport(server, ({ status }) => status === 'degraded');
      }
      await client.quiet();
    },
    2 * BROKER_TIMEOUT,
  );
});
