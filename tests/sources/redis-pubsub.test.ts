import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { connect } from '../support/client.js';
import { untilReport } from '../support/health.js';
import { startProcess } from '../support/process.js';
import { startProxy } from '../support/proxy.js';
import { startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { KEY, startServer } from '../support/server.js';
import { sourceContract } from './source-contract.js';

sourceContract({ name: 'redis-pubsub', needs: ['redis'], keeps: false }, async () => {
  const server = await startRedis();
  const redis = new Redis(server.url);
  return {
    settings: { REDIS_URL: server.url, REDIS_CHANNELS: 'postroom' },
    async send(body) {
      await redis.publish('postroom', body);
    },
    renew: async () => undefined,
    async close() {
      redis.disconnect();
      await server.stop();
    },
  };
});

describeWith(['redis'], 'Redis Pub/Sub', () => {
  let redis: Redis;
  let url: string;
  beforeAll(async () => {
    ({ url } = await startRedis());
    redis = new Redis(url);
  }, BROKER_TIMEOUT);
  afterAll(() => redis.disconnect());

  async function listen(settings: Record<string, string>, query: string) {
    const server = await startServer({ REDIS_URL: url, PUBLIC_ROOMS: '*', ...settings });
    await untilReport(server, ({ status }) => status === 'ok');
    const client = await connect(server.ws(query));
    const { connection } = await client.nextOf('welcome');
    await client.nextOf('subscribed');
    return { server, client, connection: String(connection) };
  }

  const laravel = { REDIS_CHANNELS: 'laravel_database_*', REDIS_CHANNEL_PREFIX: 'laravel_database_' };
  const channel = 'laravel_database_private-orders.42';

  it("takes what Laravel's broadcaster publishes to the room that is named like the channel, without its prefix", async () => {
    const { client } = await listen(laravel, '?room=private-orders.42');
    await redis.publish(channel, '{"event":"App\\\\Events\\\\Paid","data":{"total":19.90},"socket":null}');
    const text = await client.nextText();
    expect(text).toContain('"data":{"total":19.90}');
    expect(JSON.parse(text)).toMatchObject({ room: 'private-orders.42', event: 'App\\Events\\Paid' });
  });

  it("leaves out the connection that Laravel calls socket, and minds no other server's", async () => {
    const { client, connection } = await listen(laravel, '?room=private-orders.42');
    const event = (event: string, socket: unknown) =>
      redis.publish(channel, JSON.stringify({ event, data: [], socket }));
    await event('own', connection);
    await event('of another', '1234.5678');
    await event('of another kind', 'Xy_1-abc');
    expect(await client.next()).toMatchObject({ event: 'of another' });
    expect(await client.next()).toMatchObject({ event: 'of another kind' });
  });

  it('takes ours from a pattern and from a name', async () => {
    const { client } = await listen({ REDIS_CHANNELS: 'plain, orders.?' }, '?room=a');
    for (const [name, event] of [
      ['plain', 'one'],
      ['orders.1', 'two'],
      ['orders.12', 'nobody listens'],
      ['orders.2', 'three'],
    ] as const)
      await redis.publish(name, JSON.stringify({ room: 'a', event }));
    for (const event of ['one', 'two', 'three']) expect(await client.next()).toMatchObject({ event });
  });

  it('refuses a channel that cannot be a room', async () => {
    const { server } = await listen({ REDIS_CHANNELS: 'a*' }, '?room=a');
    await redis.publish('a room', '{"event":"e","data":1}');
    const { sources } = await untilReport(server, report => report.sources['redis-pubsub']?.refused === 1);
    expect(sources['redis-pubsub']?.lastError?.reason).toMatch(/must be a room name/);
  });
});

describeWith(['own-redis'], 'a Redis whose Pub/Sub was away', () => {
  it(
    'is listened to again',
    async () => {
      const broker = await startRedis();
      const server = await startServer({ REDIS_URL: broker.url, REDIS_CHANNELS: 'a' });
      await untilReport(server, ({ status }) => status === 'ok');
      const client = await connect(server.ws('?room=public.a'));
      await client.nextOf('subscribed');
      await broker.kill();
      await untilReport(server, ({ status }) => status === 'degraded');
      await broker.restart();
      await untilReport(server, ({ status }) => status === 'ok');
      const redis = new Redis(broker.url);
      await redis.publish('a', '{"room":"public.a","event":"back"}');
      redis.disconnect();
      expect(await client.next()).toMatchObject({ event: 'back' });
    },
    BROKER_TIMEOUT,
  );
});

describeWith(['redis'], 'nodes that share a journal, of which one listens to Redis Pub/Sub', () => {
  let redis: Redis;
  let url: string;
  beforeAll(async () => {
    ({ url } = await startRedis());
    redis = new Redis(url);
  }, BROKER_TIMEOUT);
  afterAll(() => redis.disconnect());

  it(
    'take what is published once, also after the one that listened was cut off and is back',
    async () => {
      const prefix = `test-${Math.random()}`;
      const network = await startProxy();
      const port = Number(new URL(url).port);
      network.to(port);
      const settings = { JOURNAL: 'redis', REDIS_PREFIX: prefix, REDIS_CHANNELS: prefix };
      const first = await startServer({ ...settings, REDIS_URL: `redis://127.0.0.1:${network.port}` });
      await untilReport(first, ({ status }) => status === 'ok');
      const second = await startServer({ ...settings, REDIS_URL: url });
      await untilReport(second, ({ status }) => status === 'ok');
      const client = await connect(second.ws('?room=public.a'));
      await client.nextOf('subscribed');
      network.cut();
      while ((await redis.pubsub('NUMSUB', prefix))[1] !== 0);
      // The lease of the first node runs out, and the second node listens.
      while ((await redis.pubsub('NUMSUB', prefix))[1] !== 1);
      network.to(port);
      await untilReport(first, ({ status }) => status === 'ok');
      await redis.publish(prefix, '{"room":"public.a","event":"once"}');
      expect(await client.next()).toMatchObject({ event: 'once' });
      await second.notify({ room: 'public.a', event: 'after' });
      expect(await client.next()).toMatchObject({ event: 'after' });
      expect((await redis.pubsub('NUMSUB', prefix))[1]).toBe(1);
    },
    BROKER_TIMEOUT,
  );

  it(
    'live on when the connection breaks again while it is being made',
    async () => {
      const network = await startProxy();
      const port = Number(new URL(url).port);
      network.to(port);
      const server = await startProcess({
        JOURNAL: 'redis',
        REDIS_CHANNELS: 'a',
        REDIS_URL: `redis://127.0.0.1:${network.port}`,
        NOTIFY_KEYS: KEY,
        JWT_SECRET: KEY,
      });
      for (let cut = 0; cut < 30; cut++) {
        network.cut();
        network.to(port);
        await untilReport(server, () => true);
      }
      await untilReport(server, ({ status }) => status === 'ok');
    },
    BROKER_TIMEOUT,
  );
});
