import { expect, it } from '@jest/globals';
import { Producer } from '@platformatic/kafka';
import { connect as connectRabbitmq } from 'amqplib';
import { Redis } from 'ioredis';
import { BROKER_TIMEOUT, type Broker } from '../support/broker.js';
import { startKafka } from '../support/kafka-server.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { startRabbitmq } from '../support/rabbitmq-server.js';
import { startRedis } from '../support/redis-server.js';
import { describeWith, type Program } from '../support/requires.js';
import { areInOrder, ResumingListener } from '../support/resuming.js';

const KEY = 'a-key-for-the-bridges-of-32-characters';
const KILLS = 3;
const ALL_REPLICAS = -1;
const ROOM = 'public.bridge';

/** A broker, and a publisher that sends it one message after another. */
interface Bridge {
  readonly broker: Broker;
  readonly settings: Record<string, string>;
  /** Opens a connection and returns how to send on it: resolves when the broker has the message. */
  open(): Promise<{ send(body: string, number: number): Promise<void>; close(): void }>;
}

const bridges: Record<string, { needs: Program; start(): Promise<Bridge> }> = {
  'Redis stream': {
    needs: 'own-redis',
    async start() {
      // A write is on the disk before it is answered: so a killed Redis loses no message.
      const broker = await startRedis({ args: ['--appendfsync', 'always'] });
      return {
        broker,
        settings: { REDIS_URL: broker.url, REDIS_STREAM: 'crash' },
        async open() {
          const redis = new Redis(broker.url, { retryStrategy: () => null, maxRetriesPerRequest: 0 });
          redis.on('error', () => undefined);
          return {
            send: async body => void (await redis.xadd('crash', '*', 'json', body)),
            close: () => redis.disconnect(),
          };
        },
      };
    },
  },
  'RabbitMQ queue': {
    needs: 'own-rabbitmq',
    async start() {
      const broker = await startRabbitmq();
      return {
        broker,
        settings: { RABBITMQ_URL: broker.url },
        async open() {
          const connection = await connectRabbitmq(broker.url);
          connection.on('error', () => undefined);
          const channel = await connection.createConfirmChannel();
          channel.on('error', () => undefined);
          return {
            async send(body, number) {
              channel.sendToQueue('postroom', Buffer.from(body), {
                persistent: true,
                messageId: `m${number}`,
              });
              await channel.waitForConfirms();
            },
            close: () => void connection.close().catch(() => undefined),
          };
        },
      };
    },
  },
  'Kafka topic': {
    needs: 'own-kafka',
    async start() {
      const broker = await startKafka();
      return {
        broker,
        settings: { KAFKA_BROKERS: broker.brokers },
        async open() {
          const producer = new Producer({
            clientId: 'test',
            bootstrapBrokers: [broker.brokers],
            acks: ALL_REPLICAS,
            retries: 0,
          });
          return {
            send: async body =>
              void (await producer.send({ messages: [{ topic: 'postroom', value: Buffer.from(body) }] })),
            close: () => void producer.close().catch(() => undefined),
          };
        },
      };
    },
  },
};

/** Sends numbered messages. Repeats each until the broker has it. `stop` ends it. */
class Sender {
  sent = 0;
  stopping = false;
  readonly done: Promise<void>;
  #notice = () => {};

  constructor(bridge: Bridge, bodyOf: (number: number) => object) {
    this.done = this.#run(bridge, bodyOf);
  }

  /** Resolves when so many more were sent. */
  async sends(count: number): Promise<void> {
    const enough = this.sent + count;
    while (this.sent < enough)
      await new Promise<void>(resolve => {
        this.#notice = resolve;
      });
  }

  async #run(bridge: Bridge, bodyOf: (number: number) => object): Promise<void> {
    while (!this.stopping) {
      // The broker may be away: the next turn tries again.
      const connection = await bridge.open().catch(() => undefined);
      try {
        while (connection !== undefined && !this.stopping) {
          await connection.send(JSON.stringify(bodyOf(this.sent)), this.sent);
          this.sent++;
          this.#notice();
        }
      } catch {
        // It may have arrived: it is sent again with the same key.
      }
      connection?.close();
      await new Promise(resolve => setImmediate(resolve));
    }
  }
}

for (const [name, { needs, start }] of Object.entries(bridges)) {
  describeWith([needs], `what a ${name} brings is heard once and in order`, () => {
    async function startAll(bodyOf: (number: number) => object) {
      const bridge = await start();
      const environment = { NOTIFY_KEYS: KEY, JWT_SECRET: KEY, JOURNAL: 'disk', ...bridge.settings };
      const server = await startProcess(environment);
      const url = `${server.url.replace('http', 'ws')}/ws?room=${ROOM}`;
      const listener = new ResumingListener(() => url);
      await listener.until(({ connections }) => connections > 0);
      const sender = new Sender(bridge, bodyOf);
      const restart = (dead: ServerProcess) =>
        startProcess({ ...environment, PORT: String(dead.port) }, dead.directory);
      const heardMore = (count: number) => {
        const enough = listener.heard.length + count;
        return listener.until(({ heard }) => heard.length >= enough);
      };
      const end = async () => {
        sender.stopping = true;
        await sender.done;
        await listener.until(({ heard }) => heard.length >= sender.sent);
        expect(listener.heard.map(({ data }) => data)).toEqual(
          Array.from({ length: sender.sent }, (_, number) => String(number)),
        );
        expect(areInOrder(listener.heard)).toBe(true);
        expect(listener.lost).toBe(0);
      };
      return { bridge, server, sender, restart, heardMore, end };
    }

    it(
      `when Postroom is killed in mid-consumption, ${KILLS} times`,
      async () => {
        // Without a key of its own, its position at the broker, or its message_id, is the key.
        const all = await startAll(number => ({ room: ROOM, event: 'counted', data: String(number) }));
        let { server } = all;
        for (let kill = 0; kill < KILLS; kill++) {
          await all.heardMore(100);
          await server.stop('SIGKILL');
          await all.sender.sends(50);
          server = await all.restart(server);
        }
        await all.heardMore(100);
        await all.end();
      },
      BROKER_TIMEOUT,
    );

    it(
      `when the broker is killed, ${KILLS} times`,
      async () => {
        // A sender may not know whether the broker has a message. It sends the message again with the same key.
        const all = await startAll(number => ({
          room: ROOM,
          event: 'counted',
          data: String(number),
          key: `number ${number}`,
        }));
        for (let kill = 0; kill < KILLS; kill++) {
          await all.heardMore(100);
          await all.bridge.broker.kill();
          await all.bridge.broker.restart();
        }
        await all.heardMore(100);
        await all.end();
      },
      2 * BROKER_TIMEOUT,
    );
  });
}
