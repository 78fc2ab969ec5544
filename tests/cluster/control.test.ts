import { beforeAll, beforeEach, expect, it } from '@jest/globals';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { connect, type TestClient, token } from '../support/client.js';
import { startProxy } from '../support/proxy.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { KEY, startServer, type TestServer } from '../support/server.js';

const ROOM = 'presence.chat';
const rooms = ['presence.*'];

describeWith(['redis'], 'the control API of nodes that share a Redis journal', () => {
  let redis: RedisServer;
  let prefix: string;
  beforeAll(async () => {
    redis = await startRedis();
  }, BROKER_TIMEOUT);
  beforeEach(() => {
    prefix = `test-${Math.random()}`;
  });

  function startNode(settings: Record<string, string> = {}): Promise<TestServer> {
    return startServer({ JOURNAL: 'redis', REDIS_URL: redis.url, REDIS_PREFIX: prefix, ...settings });
  }

  async function startNodes(settings: Record<string, string> = {}): Promise<[TestServer, TestServer]> {
    return [await startNode(settings), await startNode(settings)];
  }

  async function enter(node: TestServer, sub?: string, room = ROOM, info?: object) {
    const client = await connect(node.ws(`/?room=${room}&token=${token({ sub, rooms, info })}`));
    const { connection } = await client.next();
    await client.nextOf('subscribed');
    return Object.assign(client, { id: String(connection) });
  }

  async function ask(node: TestServer, path: string, method = 'GET', body?: object) {
    const response = await fetch(node.url + path, {
      method,
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    // biome-ignore lint/suspicious/noExplicitAny: a test looks at whatever was answered.
    return (await response.json()) as Record<string, any>;
  }

  it('answers at each node for all of them', async () => {
    const [one, two] = await startNodes();
    const ann = await enter(one, 'ann', ROOM, { n: 1 });
    await enter(two, 'ann', ROOM, { n: 2 });
    const bob = await enter(two, 'bob');
    const visitor = await enter(one, undefined, 'public.a');
    for (const node of [one, two]) {
      expect(await ask(node, '/rooms')).toEqual({
        rooms: [
          { room: ROOM, connections: 3, users: 2 },
          { room: 'public.a', connections: 1, users: 0 },
        ],
        next: null,
      });
      expect(await ask(node, `/rooms/${ROOM}`)).toMatchObject({ connections: 3, users: 2 });
      expect(await ask(node, `/rooms/${ROOM}/members`)).toEqual({
        members: [
          { user: 'ann', info: { n: 2 }, connections: 2 },
          { user: 'bob', info: null, connections: 1 },
        ],
        next: null,
      });
      expect(await ask(node, '/users/ann')).toEqual({ user: 'ann', connections: 2, rooms: [ROOM] });
      expect(await ask(node, '/users/online', 'POST', { users: ['ann', 'cem'] })).toEqual({
        online: { ann: 2, cem: 0 },
      });
      for (const { id } of [ann, bob, visitor])
        expect(await ask(node, `/connections/${id}`)).toMatchObject({ connection: id, state: 'live' });
      expect(await ask(node, '/connections/1.1')).toMatchObject({ code: 'unknown_connection' });
    }
  });

  it('walks over all nodes page by page', async () => {
    const nodes = await startNodes();
    const names = Array.from({ length: 23 }, (_, index) => `public.${index}`);
    for (const [index, name] of names.entries()) {
      await enter(nodes[index % 2] as TestServer, undefined, name);
      // Some are on both nodes.
      if (index % 3 === 0) await enter(nodes[(index + 1) % 2] as TestServer, undefined, name);
    }
    for (const limit of [1, 5, 22, 23, 100]) {
      const seen: string[] = [];
      for (let next: string | null = ''; next !== null; ) {
        const after: string = next === '' ? '' : `&after=${next}`;
        const page = await ask(nodes[0], `/rooms?limit=${limit}${after}`);
        seen.push(...page.rooms.map(({ room }: { room: string }) => room));
        next = page.next ?? null;
      }
      expect(seen).toEqual([...names].sort());
    }
  });

  it('moves and closes connections on all nodes', async () => {
    const [one, two] = await startNodes();
    const clients = [await enter(one, 'ann'), await enter(two, 'ann'), await enter(two, 'bob')];
    const [first, second, third] = clients as [TestClient, TestClient, TestClient & { id: string }];
    expect(await ask(one, '/users/ann/rooms/secret', 'PUT')).toEqual({ connections: 2 });
    for (const client of [first, second])
      expect(await client.nextOf('subscribed')).toMatchObject({ room: 'secret' });
    expect(await one.notify({ room: 'secret', event: 'e' })).toMatchObject({ connections: 2 });
    expect(await ask(two, '/users/ann/rooms/secret', 'DELETE')).toEqual({ connections: 2 });
    for (const client of [first, second])
      expect(await client.nextOf('unsubscribed')).toMatchObject({ room: 'secret' });
    expect(await ask(one, `/connections/${third.id}/rooms/secret`, 'PUT')).toEqual({ connections: 1 });
    expect(await ask(one, `/rooms/${ROOM}/connections`, 'DELETE')).toEqual({ removed: 3 });
    for (const client of clients) expect(await client.closed).toMatchObject({ code: 4503 });
  });

  it('revokes on all nodes, also on one that did not hear of it', async () => {
    const network = await startProxy();
    network.to(Number(new URL(redis.url).port));
    const one = await startNode();
    const two = await startNode({ REDIS_URL: `redis://127.0.0.1:${network.port}` });
    const old = token({ sub: 'ann', rooms, iat: Math.floor(Date.now() / 1000) - 5 });
    const here = await connect(two.ws(`/?token=${old}`));
    await here.nextOf('welcome');
    expect(await ask(one, '/users/ann/revoke', 'POST')).toEqual({ removed: 1 });
    expect(await here.closed).toMatchObject({ code: 4503 });
    const refused = await connect(two.ws(`/?token=${old}`));
    expect(await refused.closed).toMatchObject({ code: 4501 });

    network.cut();
    const bobs = token({ sub: 'bob', rooms, iat: Math.floor(Date.now() / 1000) - 5 });
    const began = performance.now();
    expect(await ask(one, '/users/bob/revoke', 'POST')).toEqual({ removed: 0, partial: true });
    expect(performance.now() - began).toBeLessThan(2000);
    network.to(Number(new URL(redis.url).port));
    // It reads the store again within seconds.
    for (let isRefused = false; !isRefused; ) {
      const client = await connect(two.ws(`/?token=${bobs}`));
      isRefused = (await client.next()).type === 'error';
      client.socket.terminate();
    }
  });

  it('shows members on other nodes, who come, go, and stay behind on a node that stops', async () => {
    const [one, two] = await startNodes({ PRESENCE_GRACE_SECONDS: '0' });
    const ann = await enter(one, 'ann');
    const bob = await enter(two, 'bob', ROOM, { n: 1 });
    expect(await ann.next()).toEqual({ type: 'joined', room: ROOM, user: 'bob', info: { n: 1 } });
    bob.socket.close();
    expect(await ann.next()).toEqual({ type: 'left', room: ROOM, user: 'bob' });
    await enter(two, 'cem');
    expect(await ann.next()).toMatchObject({ type: 'joined', user: 'cem' });
    await two.stop();
    expect(await ann.next()).toMatchObject({ type: 'left', user: 'cem' });
    await ann.quiet();
  });
});
