/**
 * Sends notifications to a broker, as a backend does, with the client library of each. Each opener resolves to `{ send,
 * close }`. `send(count)` sends so many equal notifications together, and resolves when the broker has them. A driver
 * is loaded only if it is needed.
 */
import { PLACE } from '../servers.js';

const CHUNK = 1_000;

const SENDERS = {
  'redis-pubsub': (address, body) => openRedis(address, pipeline => pipeline.publish(PLACE, body)),
  'redis-stream': (address, body) => openRedis(address, pipeline => pipeline.xadd(PLACE, '*', 'json', body)),
  rabbitmq: openRabbitmq,
  kafka: openKafka,
};

/** @param source the source of the server that reads there */
export function openSender(source, address, body) {
  return SENDERS[source](address, body);
}

/** Puts so many notifications there before anybody reads. */
export async function fillBroker(source, address, body, count) {
  const sender = await openSender(source, address, body);
  for (let sent = 0; sent < count; sent += CHUNK) await sender.send(Math.min(CHUNK, count - sent));
  await sender.close();
}

async function openRedis(address, add) {
  const { Redis } = await import('ioredis');
  const client = new Redis(address);
  return {
    async send(count) {
      const pipeline = client.pipeline();
      for (let n = 0; n < count; n++) add(pipeline);
      for (const [error] of await pipeline.exec()) if (error) throw error;
    },
    close: () => client.quit(),
  };
}

async function openRabbitmq(address, body) {
  const { connect } = await import('amqplib');
  const connection = await connect(address, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  // As Postroom makes the queue.
  await channel.assertQueue(PLACE, { durable: true, arguments: { 'x-single-active-consumer': true } });
  const content = Buffer.from(body);
  return {
    async send(count) {
      for (let n = 0; n < count; n++) channel.sendToQueue(PLACE, content, { persistent: true });
      await channel.waitForConfirms();
    },
    close: () => connection.close(),
  };
}

async function openKafka(address, body) {
  const { Admin, Producer } = await import('@platformatic/kafka');
  const options = { clientId: PLACE, bootstrapBrokers: [address] };
  const admin = new Admin(options);
  const known = await admin.listTopics();
  if (!known.includes(PLACE)) await admin.createTopics({ topics: [PLACE], partitions: 1, replicas: 1 });
  await admin.close();
  const producer = new Producer(options);
  const message = { topic: PLACE, value: Buffer.from(body) };
  return {
    send: count => producer.send({ acks: 1, messages: Array(count).fill(message) }),
    close: () => producer.close(),
  };
}
