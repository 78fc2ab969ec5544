import { beforeAll, beforeEach, expect, it } from '@jest/globals';
import request from 'supertest';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { connect, token } from '../support/client.js';
import { reportOf, untilReport } from '../support/health.js';
import { startProxy } from '../support/proxy.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { KEY, startServer, type TestServer } from '../support/server.js';

describeWith(['redis'], 'nodes that share a Redis journal', () => {
  let redis: RedisServer;
  let prefix: string;
  beforeAll(async () => {
    redis = await startRedis();
  }, BROKER_TIMEOUT);
  beforeEach(() => {
    prefix = `test-${Math.random()}`;
  });

  function startNode(settings: Record<string, string> = {}) {
    return startServer({ JOURNAL: 'redis', REDIS_URL: redis.url, REDIS_PREFIX: prefix, ...settings });
  }
  async function startNodes(count: number): Promise<TestServer[]> {
    const nodes = [];
    for (let node = 0; node < count; node++) nodes.push(await startNode());
    return nodes;
  }
  async function listen(node: TestServer | undefined, query = '?room=public.a') {
    if (node === undefined) throw new Error('there is no such node');
    const client = await connect(node.ws(query));
    const { connection } = await client.nextOf('welcome');
    if (query.includes('room=')) await client.nextOf('subscribed');
    return Object.assign(client, { id: String(connection) });
  }

  it('reach a room, a user, a connection and everyone, wherever they are, and count them all', async () => {
    const [one, two, three] = await startNodes(3);
    const here = await listen(one);
    const there = await listen(two);
    const user = await listen(three, `?token=${token({ sub: '42' })}`);
    const sender = await listen(two);
    const notify = (fields: object) => one?.notify({ event: 'e', ...fields });

    expect(await notify({ room: 'public.a' })).toMatchObject({ connections: 3, duplicate: false });
    expect(await notify({ room: 'public.a', except: sender.id })).toMatchObject({ connections: 2 });
    expect(await notify({ user: '42' })).toMatchObject({ connections: 1 });
    expect(await notify({ connection: there.id })).toMatchObject({ connections: 1 });
    expect(await notify({ everyone: true })).toMatchObject({ connections: 4 });
    expect(await notify({ room: 'public.nobody' })).not.toHaveProperty('partial');

    for (const [client, frames] of [
      [here, 3],
      [there, 4],
      [user, 2],
      [sender, 2],
    ] as const) {
      for (let frame = 0; frame < frames; frame++) expect(await client.next()).toMatchObject({ event: 'e' });
      await client.quiet();
    }
  });

  it('have one space of idempotency keys', async () => {
    const [one, two] = await startNodes(2);
    const client = await listen(two);
    const body = { room: 'public.a', event: 'e', key: 'k' };
    const first = await one?.notify(body);
    expect(await two?.notify(body)).toEqual({ id: first?.id, connections: 0, duplicate: true });
    expect(await client.next()).toMatchObject({ id: first?.id });
    await client.quiet();
  });

  it('show all clients the same order, whichever node published what', async () => {
    const nodes = await startNodes(3);
    const clients = await Promise.all(nodes.map(node => listen(node)));
    const publish = (node: TestServer, index: number) =>
      Promise.all(
        Array.from({ length: 100 }, (_, n) =>
          node.notify({ room: 'public.a', event: 'e', data: `${index}:${n}` }),
        ),
      );
    await Promise.all(nodes.map(publish));
    const heard = await Promise.all(
      clients.map(async client => {
        const ids = [];
        for (let frame = 0; frame < 300; frame++) ids.push((await client.nextOf('notification')).id);
        return ids;
      }),
    );
    expect(new Set(heard[0]).size).toBe(300);
    expect(heard[1]).toEqual(heard[0]);
    expect(heard[2]).toEqual(heard[0]);
  });

  it('serve a client that comes from another node with the past that it missed', async () => {
    const [one, two] = await startNodes(2);
    const client = await listen(one);
    const { id } = (await one?.notify({ room: 'public.a', event: 'seen' })) ?? {};
    await client.nextOf('notification');
    client.socket.close();
    await one?.notify({ room: 'public.a', event: 'missed', ttl: 60 });
    const back = await connect(two?.ws(`?room=public.a&since=${id}`) ?? '');
    expect(await back.nextOf('welcome')).toMatchObject({ recovered: true });
    expect(await back.nextOf('notification')).toMatchObject({ event: 'missed' });
    await two?.notify({ room: 'public.a', event: 'live' });
    expect(await back.next()).toMatchObject({ event: 'live' });
  });

  it('that start later know the past, its keys and how far it reaches back', async () => {
    const one = await startNode();
    const before = (await listen(one, '')).socket;
    before.close();
    const first = await one.notify({ room: 'public.a', event: 'one', data: { n: 1.5 }, key: 'k' });
    const second = await one.notify({ room: 'public.a', event: 'two' });
    const two = await startNode();
    const client = await connect(two.ws(`?room=public.a&since=${first.id}`));
    expect(await client.nextOf('welcome')).toMatchObject({ recovered: true });
    expect(await client.nextOf('notification')).toMatchObject({ id: second.id, event: 'two' });
    expect(await two.notify({ room: 'public.a', event: 'one', key: 'k' })).toMatchObject({ id: first.id });
    const stranger = await connect(two.ws('?room=public.a&since=1000-0'));
    expect(await stranger.nextOf('welcome')).toMatchObject({ recovered: false });
  });

  it('tell operators of each other, and forget who stopped', async () => {
    const [one, two] = await startNodes(2);
    await listen(two);
    if (one === undefined || two === undefined) throw new Error('two nodes were started');
    const report = await untilReport(
      one,
      ({ journal }) => journal.nodes?.some(node => node.connections === 1) ?? false,
    );
    expect(report.journal).toMatchObject({ kind: 'redis', available: true, lagMs: 0 });
    expect(report.journal.nodes).toHaveLength(2);
    await two.stop();
    await untilReport(one, ({ journal }) => journal.nodes?.length === 1);
    expect(await one.notify({ room: 'public.a', event: 'e' })).not.toHaveProperty('partial');
  });

  it('do not wait for what no node has given, nor for a client with a bad token', async () => {
    const [one, two] = await startNodes(2);
    await one?.notify({ room: 'public.a', event: 'e' });
    const since = 'since=999999999999999-0';
    const began = performance.now();
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => connect(two?.ws(`?room=public.a&${since}`) ?? '')),
    );
    for (const client of clients) expect(await client.nextOf('welcome')).toMatchObject({ recovered: false });
    const bad = await connect(two?.ws(`?token=nonsense&${since}`) ?? '');
    expect(await bad.closed).toMatchObject({ code: 4501 });
    // A node that is behind is waited for up to 2 s.
    expect(performance.now() - began).toBeLessThan(1500);
  });

  it('wait for a client that is further than they are, though not for ever', async () => {
    const [one, two] = await startNodes(2);
    const client = await listen(two);
    const ahead = await one?.notify({ room: 'public.a', event: 'e' });
    const [time] = (ahead?.id ?? '').split('-').map(Number);
    const never = await connect(two?.ws(`?room=public.a&since=${(time ?? 0) + 100_000}-0`) ?? '');
    expect(await never.nextOf('welcome')).toMatchObject({ recovered: false });
    await client.nextOf('notification');
    client.send({ type: 'subscribe', room: 'public.b', since: `${(time ?? 0) + 100_000}-0`, ref: 1 });
    client.send({ type: 'ping', ref: 2 });
    expect(await client.next()).toMatchObject({ type: 'subscribed', recovered: false, ref: 1 });
    expect(await client.next()).toMatchObject({ type: 'pong', ref: 2 });
  });

  it('wait for a client that is further than they are, and then bring what it missed, without gap or double', async () => {
    const network = await startProxy();
    const port = Number(new URL(redis.url).port);
    network.to(port);
    const ahead = await startNode();
    const behind = await startNode({ REDIS_URL: `redis://127.0.0.1:${network.port}` });
    const other = await listen(behind);
    network.cut();
    const seen = await ahead.notify({ room: 'public.a', event: 'seen' });
    await ahead.notify({ room: 'public.a', event: 'missed' });
    const coming = connect(behind.ws(`?room=public.a&since=${seen.id}`));
    network.to(port);
    const back = await coming;
    expect(await back.nextOf('welcome')).toMatchObject({ recovered: true });
    await back.nextOf('subscribed');
    expect(await back.next()).toMatchObject({ event: 'missed' });
    await ahead.notify({ room: 'public.a', event: 'live' });
    expect(await back.next()).toMatchObject({ event: 'live' });
    for (const event of ['seen', 'missed', 'live']) expect(await other.next()).toMatchObject({ event });
  });

  it('remove connections wherever they are, whichever node is asked', async () => {
    const [one, two] = await startNodes(2);
    const query = `?token=${token({ sub: '42' })}`;
    const clients = [await listen(one, query), await listen(two, query), await listen(two, query)];
    const other = await listen(two);
    const remove = async (path: string) => {
      const headers = { authorization: `Bearer ${KEY}` };
      return (await fetch(`${one?.url}${path}`, { method: 'DELETE', headers })).json();
    };
    expect(await remove('/users/42/connections')).toEqual({ removed: 3 });
    for (const client of clients) expect(await client.closed).toMatchObject({ code: 4503 });
    expect(await remove('/users/42/connections')).toEqual({ removed: 0 });
    expect(await remove(`/connections/${other.id}`)).toEqual({ removed: 1 });
    expect(await other.closed).toMatchObject({ code: 4503 });
  });

  it('take what is published on Redis Pub/Sub once, though all of them are told to listen', async () => {
    const channels = { REDIS_CHANNELS: `${prefix}-channel` };
    const one = await startNode(channels);
    const two = await startNode(channels);
    const client = await listen(two);
    await untilReport(one, ({ status }) => status === 'ok');
    await untilReport(two, ({ status }) => status === 'ok');
    const { Redis } = await import('ioredis');
    const publisher = new Redis(redis.url);
    await publisher.publish(`${prefix}-channel`, '{"room":"public.a","event":"once"}');
    publisher.disconnect();
    expect(await client.next()).toMatchObject({ event: 'once' });
    await one.notify({ room: 'public.a', event: 'after' });
    expect(await client.next()).toMatchObject({ event: 'after' });
    const taken = [await reportOf(one), await reportOf(two)].map(
      ({ sources }) => sources['redis-pubsub']?.taken,
    );
    expect(taken.sort()).toEqual([0, 1]);
  });

  it('refuse to start without REDIS_URL', async () => {
    await expect(startServer({ JOURNAL: 'redis' })).rejects.toThrow(/JOURNAL=redis needs REDIS_URL/);
  });

  it(
    'answer 503 with Retry-After while Redis is not reached, and keep their connections',
    async () => {
      const own = await startRedis();
      if (!own.own) return;
      const node = await startServer({ JOURNAL: 'redis', REDIS_URL: own.url });
      const client = await listen(node);
      await own.kill();
      await untilReport(node, ({ journal }) => !journal.available);
      const refused = await request(node.url)
        .post('/notify')
        .set('authorization', `Bearer ${KEY}`)
        .send({ room: 'public.a', event: 'e' });
      expect(refused.status).toBe(503);
      expect(refused.headers['retry-after']).toMatch(/^\d+$/);
      await request(node.url).get('/health/ready').expect(503);
      await client.quiet();
      await own.restart();
      await untilReport(node, ({ journal }) => journal.available);
      expect(await node.notify({ room: 'public.a', event: 'again' })).toMatchObject({ connections: 1 });
      expect(await client.next()).toMatchObject({ event: 'again' });
    },
    BROKER_TIMEOUT,
  );
});
