import { afterAll, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { connect } from '../support/client.js';
import { untilReport } from '../support/health.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { startServer } from '../support/server.js';
import { sourceContract } from './source-contract.js';

sourceContract({ name: 'redis-stream', needs: ['redis'], keeps: true }, async () => {
  const server = await startRedis();
  const redis = new Redis(server.url);
  let stream = newName();
  return {
    get settings() {
      return { REDIS_URL: server.url, REDIS_STREAM: stream };
    },
    async send(body) {
      await redis.xadd(stream, '*', 'json', body);
    },
    async deadLetters(count) {
      while ((await redis.xlen(`${stream}.dead`)) < count);
      const entries = await redis.xrange(`${stream}.dead`, '-', '+');
      return entries.map(([, [, body = '', , reason = '']]) => ({ body, reason }));
    },
    async renew() {
      stream = newName();
    },
    async close() {
      redis.disconnect();
      await server.stop();
    },
  };
});

function newName(): string {
  return `stream-${Math.random()}`;
}

describeWith(['redis'], 'a Redis stream', () => {
  let broker: RedisServer;
  let redis: Redis;
  let settings: { REDIS_URL: string; REDIS_STREAM: string };
  beforeAll(async () => {
    broker = await startRedis();
    redis = new Redis(broker.url);
  }, BROKER_TIMEOUT);
  beforeEach(() => {
    settings = { REDIS_URL: broker.url, REDIS_STREAM: newName() };
  });
  afterAll(() => redis.disconnect());

  async function listen() {
    const server = await startServer(settings);
    const client = await connect(server.ws('?room=public.a'));
    await client.nextOf('subscribed');
    return { server, client };
  }

  it('may carry the fields of the body as its own', async () => {
    const { client } = await listen();
    const fields = ['rooms', '["public.a","public.b"]', 'event', 'e', 'data', '{"n":1.0}', 'ttl', '60'];
    await redis.xadd(settings.REDIS_STREAM, '*', ...fields);
    await redis.xadd(settings.REDIS_STREAM, '*', 'room', 'public.a', 'event', 'text', 'data', 'no JSON');
    expect(await client.nextText()).toContain('"event":"e","data":{"n":1.0}');
    expect(await client.next()).toMatchObject({ event: 'text', data: 'no JSON' });
  });

  it('puts entries whose fields say nothing into its dead letters, as JSON', async () => {
    const { server } = await listen();
    const id = await redis.xadd(settings.REDIS_STREAM, '*', 'rom', 'public.a', 'event', 'e');
    await untilReport(server, ({ sources }) => sources['redis-stream']?.refused === 1);
    const [[, fields = []] = []] = await dead();
    expect(fields).toEqual([
      'json',
      '{"rom":"public.a","event":"e"}',
      'reason',
      expect.stringMatching(/did you mean room/),
      'id',
      id,
    ]);
  });

  it('that has entries already when it is read for the first time is read from its beginning', async () => {
    for (const data of ['1', '2'])
      await redis.xadd(
        settings.REDIS_STREAM,
        '*',
        'room',
        'public.a',
        'event',
        'e',
        'data',
        data,
        'ttl',
        '600',
      );
    const server = await startServer(settings);
    const { journal } = await untilReport(server, ({ sources }) => sources['redis-stream']?.taken === 2);
    expect(journal.entries).toBe(2);
  });

  it('is read on by the next one where a dead one left entries pending, first of all and in order', async () => {
    const { REDIS_STREAM } = settings;
    for (const data of ['1', '2', '3'])
      await redis.xadd(REDIS_STREAM, '*', 'room', 'public.a', 'event', 'e', 'data', data);
    await redis.xgroup('CREATE', REDIS_STREAM, 'postroom', '0');
    await redis.set(`${REDIS_STREAM}:postroom:reader`, 'one that died a second ago', 'PX', 1000);
    await redis.xreadgroup('GROUP', 'postroom', 'postroom', 'COUNT', 2, 'STREAMS', REDIS_STREAM, '>');
    const server = await startServer(settings);
    const client = await connect(server.ws('?room=public.a'));
    await client.nextOf('subscribed');
    for (const data of [1, 2, 3]) expect(await client.next()).toMatchObject({ data });
    await untilReport(server, ({ sources }) => sources['redis-stream']?.lag === 0);
    expect(await redis.xpending(REDIS_STREAM, 'postroom')).toEqual([0, null, null, null]);
  });

  it('is read by one server at a time, and by the other one when that stops', async () => {
    const first = await listen();
    await untilReport(first.server, ({ sources }) => sources['redis-stream']?.lag === 0);
    const second = await listen();
    await redis.xadd(settings.REDIS_STREAM, '*', 'room', 'public.a', 'event', 'one');
    expect(await first.client.next()).toMatchObject({ event: 'one' });
    await second.client.quiet();
    await first.server.stop();
    await redis.xadd(settings.REDIS_STREAM, '*', 'room', 'public.a', 'event', 'two');
    expect(await second.client.next()).toMatchObject({ event: 'two' });
  });

  it('tells its lag, and goes on where it is deleted', async () => {
    const { server, client } = await listen();
    await untilReport(server, ({ sources }) => sources['redis-stream']?.lag === 0);
    await redis.del(settings.REDIS_STREAM);
    await untilReport(server, ({ sources }) => sources['redis-stream']?.connected === false);
    await redis.xadd(settings.REDIS_STREAM, '*', 'room', 'public.a', 'event', 'after');
    expect(await client.next()).toMatchObject({ event: 'after' });
  });

  function dead() {
    return redis.xrange(`${settings.REDIS_STREAM}.dead`, '-', '+');
  }
});

describeWith(['own-redis'], 'a Redis that is away', () => {
  it(
    'is waited for, at the start and later; the server is degraded meanwhile, and ready',
    async () => {
      const broker = await startRedis();
      await broker.stop();
      const settings = { REDIS_URL: broker.url, REDIS_STREAM: newName() };
      const server = await startServer(settings);
      const { sources } = await untilReport(
        server,
        report => report.sources['redis-stream']?.lastError !== undefined,
      );
      expect(sources['redis-stream']).toMatchObject({
        connected: false,
        lastError: { reason: expect.stringMatching(/cannot be read: .*ECONNREFUSED/) },
      });
      expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
      const client = await connect(server.ws('?room=public.a'));
      await client.nextOf('subscribed');
      for (const event of ['first', 'second']) {
        await broker.restart();
        await untilReport(server, ({ status }) => status === 'ok');
        const redis = new Redis(broker.url);
        await redis.xadd(settings.REDIS_STREAM, '*', 'room', 'public.a', 'event', event);
        expect(await client.next()).toMatchObject({ event });
        redis.disconnect();
        await broker.kill();
        await untilReport(server, ({ status }) => status === 'degraded');
      }
      const told = server.logged.filter(({ msg }) => /Redis stream/.test(msg)).map(({ msg }) => msg);
      expect(told.length).toBeLessThan(8);
    },
    BROKER_TIMEOUT,
  );

  it('and asks for a password that is not ours says so, without ours', async () => {
    const broker = await startRedis({ args: ['--requirepass', 'the right one'] });
    const url = broker.url.replace('//', '//:a-wrong-password@');
    const server = await startServer({ REDIS_URL: url, REDIS_STREAM: newName() });
    const { sources } = await untilReport(
      server,
      report => report.sources['redis-stream']?.lastError !== undefined,
    );
    expect(sources['redis-stream']?.lastError?.reason).toMatch(/WRONGPASS|password/);
    expect(JSON.stringify([sources, server.logged])).not.toContain('a-wrong-password');
  });
});
