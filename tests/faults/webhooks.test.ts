import { setTimeout as passes } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { connect, type TestClient, token } from '../support/client.js';
import { reportOf, untilReport } from '../support/health.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { type Event, TAKEN, WebhookReceiver } from '../support/receiver.js';
import { startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET, KEY } from '../support/server.js';

const DISK_TIMEOUT = 60_000;
const KILLS = 5;
const VISITORS = 8;
const REDIS_AWAY_MS = 6000;

interface Visitor extends TestClient {
  readonly id: string;
}

function settings(receiver: WebhookReceiver, others: Record<string, string>): Record<string, string> {
  return {
    NOTIFY_KEYS: KEY,
    JWT_SECRET,
    DRAIN_SECONDS: '0',
    PRESENCE_GRACE_SECONDS: '0',
    ...receiver.settings,
    ...others,
  };
}

/** A client that is in a room. */
async function visit(server: ServerProcess, room: string, user?: string): Promise<Visitor> {
  const query = user === undefined ? '' : `&token=${token({ sub: user, rooms: ['*'] })}`;
  const client = await connect(`${server.url.replace('http', 'ws')}/ws?room=${room}${query}`);
  const { connection } = await client.nextOf('welcome');
  await client.nextOf('subscribed');
  return Object.assign(client, { id: String(connection) });
}

async function leave(client: TestClient): Promise<void> {
  client.socket.close();
  await client.closed;
}

/** What events say: the type, and the connection, room or user. */
function told(events: readonly Event[]): string[] {
  return events.map(({ type, connection, room, user, reason }) =>
    [type, ...(type.startsWith('connection') ? [connection] : [room, connection ?? user]), reason]
      .filter(field => field !== undefined && field !== null)
      .join(' '),
  );
}

/** Those who came and went only to see that PHP has heard of everything before. */
const visitors = new Set<string>();

/**
 * Somebody comes and goes. When PHP has heard of that, it has heard of everything before.
 * @returns the events that were taken, without those of this visit
 */
async function allSoFar(server: ServerProcess, receiver: WebhookReceiver): Promise<Event[]> {
  const { id, ...client } = await visit(server, 'public.last');
  visitors.add(id);
  await leave(client);
  const isLast = ({ type, connection }: Event) => type === 'connection.closed' && connection === id;
  await receiver.until(() => receiver.taken.some(isLast));
  expect(receiver.forged).toEqual([]);
  return receiver.taken.filter(
    ({ connection, room }) => !visitors.has(String(connection)) && room !== 'public.last',
  );
}

/** A request that was under way at a kill may come twice. */
function exactlyOnce(events: readonly Event[]): Event[] {
  return [...new Map(events.map(event => [event.id, event])).values()];
}

function sorted(texts: readonly string[]): string[] {
  return [...texts].sort();
}

describe('kill -9 of a server with a disk', () => {
  const EVENTS = 'connection.*,room.joined,room.left';

  it(
    'loses nothing that was stored while PHP was away, and tells the end of what was open; all of it once',
    async () => {
      const receiver = await WebhookReceiver.start();
      await receiver.stop();
      const environment = settings(receiver, { JOURNAL: 'disk', WEBHOOK_EVENTS: EVENTS });
      const server = await startProcess(environment);
      const stay: Visitor[] = [];
      const went: Visitor[] = [];
      for (let count = 0; count < 5; count++) {
        stay.push(await visit(server, 'public.a', `stays-${count}`));
        went.push(await visit(server, 'public.b'));
      }
      for (const client of went) await leave(client);
      const report = await untilReport(
        server,
        ({ webhooks }) => webhooks?.waiting === 5 * 2 + 5 * 4 && webhooks.lastError !== undefined,
      );
      expect(report.webhooks?.lastError?.reason).toContain('ECONNREFUSED');
      await server.stop('SIGKILL');
      await receiver.start();
      const again = await startProcess(environment, server.directory);
      await receiver.events(stay.length + went.length, 'connection.closed');
      // What had closed just before the kill may end twice: its end is stored before it is forgotten.
      const isDouble = ({ reason, connection }: Event) =>
        reason === 'crashed' && went.some(({ id }) => id === connection);
      const events = (await allSoFar(again, receiver)).filter(event => !isDouble(event));
      const ids = events.map(({ id }) => id);
      expect(ids).toEqual(sorted([...new Set(ids)]));
      expect(sorted(told(events))).toEqual(
        sorted([
          ...[...stay, ...went].map(({ id }) => `connection.opened ${id}`),
          ...stay.map(({ id }) => `room.joined public.a ${id}`),
          ...went.map(({ id }) => `room.joined public.b ${id}`),
          ...went.map(({ id }) => `room.left public.b ${id}`),
          ...went.map(({ id }) => `connection.closed ${id} client`),
          ...stay.map(({ id }) => `connection.closed ${id} crashed`),
        ]),
      );
      const crashed = events.filter(({ reason }) => reason === 'crashed');
      expect(sorted(crashed.map(({ user, seconds }) => `${user} ${seconds}`))).toEqual(
        stay.map((_client, index) => `stays-${index} null`),
      );
    },
    DISK_TIMEOUT,
  );

  it(
    'repeats the request that was under way, with its id and its events',
    async () => {
      const receiver = await WebhookReceiver.start();
      receiver.answer = () => undefined;
      const environment = settings(receiver, { JOURNAL: 'disk', WEBHOOK_EVENTS: EVENTS });
      const server = await startProcess(environment);
      const first = await visit(server, 'public.a');
      await receiver.until(() => receiver.deliveries.length === 1);
      const second = await visit(server, 'public.a');
      await untilReport(server, ({ webhooks }) => webhooks?.waiting === 4);
      await server.stop('SIGKILL');
      receiver.answer = TAKEN;
      const again = await startProcess(environment, server.directory);
      await receiver.events(2, 'connection.closed');
      const events = await allSoFar(again, receiver);
      const [before, after] = receiver.deliveries;
      expect(after).toMatchObject({ id: before?.id, events: before?.events });
      expect(new Set(receiver.deliveries.map(({ id }) => id)).size).toBe(receiver.deliveries.length - 1);
      expect(sorted(told(events))).toEqual(
        sorted(
          [first, second].flatMap(({ id }) => [
            `connection.opened ${id}`,
            `room.joined public.a ${id}`,
            `connection.closed ${id} crashed`,
          ]),
        ),
      );
    },
    DISK_TIMEOUT,
  );

  it(
    `${KILLS} times while clients come and go: each connection that PHP hears of ends, also for PHP`,
    async () => {
      const receiver = await WebhookReceiver.start();
      const environment = settings(receiver, { JOURNAL: 'disk', WEBHOOK_EVENTS: EVENTS });
      let server = await startProcess(environment);
      let isOver = false;
      let visits = 0;
      const visiting = Array.from({ length: VISITORS }, async () => {
        while (!isOver) {
          const client = await visit(server, 'public.a').catch(() => undefined);
          if (client === undefined) await new Promise(resolve => setImmediate(resolve));
          else await leave(client).then(() => visits++);
        }
      });
      for (let kill = 0; kill < KILLS; kill++) {
        const { length } = receiver.deliveries;
        await receiver.until(() => receiver.deliveries.length >= length + 3 * (kill + 1));
        await server.stop('SIGKILL');
        server = await startProcess({ ...environment, PORT: String(server.port) }, server.directory);
      }
      isOver = true;
      await Promise.all(visiting);
      const isEnded = () => {
        const ended = new Set(closedOf(receiver.taken));
        return openedOf(receiver.taken).every(id => ended.has(id));
      };
      await receiver.until(isEnded);
      const events = await allSoFar(server, receiver);
      expect(isEnded()).toBe(true);
      expect(visits).toBeGreaterThan(KILLS);
      // What was not stored at a kill is not told: on a busy disk, some visits of each visitor.
      expect(new Set(openedOf(events)).size).toBeGreaterThanOrEqual(visits - KILLS * VISITORS * 20);
      expect(receiver.mostAtOnce).toBe(1);
      for (const delivery of receiver.deliveries)
        expect(delivery.events).toEqual(receiver.deliveries.find(({ id }) => id === delivery.id)?.events);
    },
    DISK_TIMEOUT,
  );
});

describe('SIGTERM', () => {
  it(
    'tells the end of all connections, also if PHP is away until the next start',
    async () => {
      const receiver = await WebhookReceiver.start();
      await receiver.stop();
      const environment = settings(receiver, {
        JOURNAL: 'disk',
        WEBHOOK_EVENTS: 'connection.closed,room.left,room.vacated',
      });
      const server = await startProcess(environment);
      const clients: Visitor[] = [];
      for (let count = 0; count < 20; count++) clients.push(await visit(server, 'public.a'));
      expect(await server.stop('SIGTERM')).toBe(0);
      await receiver.start();
      const again = await startProcess(environment, server.directory);
      await receiver.events(20, 'connection.closed');
      const events = (await allSoFar(again, receiver)).filter(({ type }) => type !== 'room.vacated');
      for (const { id } of clients)
        expect(told(events.filter(({ connection }) => connection === id))).toEqual([
          `room.left public.a ${id}`,
          `connection.closed ${id} shutting_down`,
        ]);
      expect(events).toHaveLength(2 * clients.length);
    },
    DISK_TIMEOUT,
  );
});

describeWith(['own-redis'], 'two nodes with Redis', () => {
  async function start(events: string, others: Record<string, string> = {}) {
    const redis = await startRedis({ args: ['--appendfsync', 'always'] });
    const receiver = await WebhookReceiver.start();
    const environment = settings(receiver, {
      JOURNAL: 'redis',
      REDIS_URL: redis.url,
      WEBHOOK_EVENTS: events,
      ...others,
    });
    const nodes = [await startProcess(environment), await startProcess(environment)];
    for (const node of nodes) await untilReport(node, ({ journal }) => journal.nodes?.length === 2);
    const [sender, other] = await senderFirst(nodes);
    return { redis, receiver, environment, sender, other };
  }

  it(
    'one is killed, the other sends on and tells what has ended, once',
    async () => {
      const { receiver, sender, other } = await start(
        'connection.closed,room.occupied,room.vacated,member.*',
      );
      const dead = [
        await visit(sender, 'presence.a', 'ann'),
        await visit(sender, 'presence.both', 'bob'),
        await visit(sender, 'public.dead'),
      ];
      const alive = [await visit(other, 'presence.both', 'cem'), await visit(other, 'public.alive')];
      await receiver.events(4, 'room.occupied');
      await receiver.events(3, 'member.joined');
      const before = new Set(receiver.taken.map(({ id }) => id));
      const began = performance.now();
      await sender.stop('SIGKILL');
      await leave(await visit(other, 'public.first'));
      await receiver.events(1, 'connection.closed');
      const took = performance.now() - began;
      console.log(`a sender was killed: the other sent after ${Math.round(took)} ms`);
      expect(took).toBeLessThan(10_000);
      await receiver.events(dead.length + 1, 'connection.closed');
      await receiver.until(() =>
        receiver.taken.some(({ room, type }) => type === 'room.vacated' && room === 'public.dead'),
      );
      await receiver.events(2, 'member.left');
      await receiver.until(() =>
        receiver.taken.some(({ room, type }) => type === 'room.vacated' && room === 'presence.a'),
      );
      const events = exactlyOnce(await allSoFar(other, receiver)).filter(
        ({ id, room, reason }) => !before.has(id) && room !== 'public.first' && reason !== 'client',
      );
      expect(sorted(told(events))).toEqual(
        sorted([
          ...dead.map(({ id }) => `connection.closed ${id} crashed`),
          'room.vacated presence.a',
          'room.vacated public.dead',
          'member.left presence.a ann',
          'member.left presence.both bob',
        ]),
      );
      for (const client of alive) expect(client.socket.readyState).toBe(client.socket.OPEN);
    },
    BROKER_TIMEOUT,
  );

  it(
    "PHP hangs: one request at a time; and the killed sender's request comes again from the other, the same",
    async () => {
      const { receiver, sender, other } = await start('connection.opened');
      receiver.answer = () => undefined;
      const one = await visit(sender, 'public.a');
      await receiver.until(() => receiver.deliveries.length === 2);
      expect(receiver.mostAtOnce).toBe(1);
      const two = await visit(other, 'public.a');
      receiver.answer = TAKEN;
      await sender.stop('SIGKILL');
      await receiver.events(2);
      const [first, second, third] = receiver.deliveries;
      expect([second, third]).toMatchObject(Array(2).fill({ id: first?.id, events: first?.events }));
      expect(told(receiver.taken)).toEqual([one, two].map(({ id }) => `connection.opened ${id}`));
      expect(receiver.mostAtOnce).toBe(1);
    },
    BROKER_TIMEOUT,
  );

  it(
    `Redis is away for ${REDIS_AWAY_MS / 1000} s: nothing is lost, nobody has left, and notifications go on`,
    async () => {
      const { redis, receiver, sender, other } = await start(
        'connection.*,room.occupied,room.vacated,member.*',
      );
      const ann = await visit(sender, 'presence.a', 'ann');
      const bob = await visit(other, 'presence.a', 'bob');
      const gone = await visit(other, 'public.gone');
      await receiver.events(2, 'member.joined');
      await receiver.events(2, 'room.occupied');
      await redis.kill();
      await leave(gone);
      const late = await visit(other, 'public.late');

      await passes(REDIS_AWAY_MS);
      await redis.restart();
      await receiver.events(1, 'room.vacated');
      await receiver.events(3, 'room.occupied');

      await notify(other, 'presence.a');
      for (const client of [ann, bob])
        expect(await client.nextOf('notification')).toMatchObject({ room: 'presence.a' });
      const events = await allSoFar(sender, receiver);
      expect(sorted(told(exactlyOnce(events)))).toEqual(
        sorted([
          ...[ann, bob, gone, late].map(({ id }) => `connection.opened ${id}`),
          `connection.closed ${gone.id} client`,
          ...['presence.a', 'public.gone', 'public.late'].map(room => `room.occupied ${room}`),
          'room.vacated public.gone',
          'member.joined presence.a ann',
          'member.joined presence.a bob',
        ]),
      );
      // Also what was opened while Redis was away has an end if its process dies.
      await other.stop('SIGKILL');
      await receiver.until(() => closedOf(receiver.taken).includes(late.id));
      await receiver.until(() => closedOf(receiver.taken).includes(bob.id));
      const ends = closedOf(exactlyOnce(await allSoFar(sender, receiver)));
      expect(sorted(ends)).toEqual(sorted([gone.id, late.id, bob.id]));
    },
    BROKER_TIMEOUT,
  );
});

/** The node that sends, and the other one. */
async function senderFirst(nodes: readonly ServerProcess[]): Promise<[ServerProcess, ServerProcess]> {
  const [one, two] = nodes as [ServerProcess, ServerProcess];
  for (;;) {
    if ((await reportOf(one)).webhooks?.sending) return [one, two];
    if ((await reportOf(two)).webhooks?.sending) return [two, one];
  }
}

/** Posts until it is accepted. */
async function notify(server: ServerProcess, room: string): Promise<void> {
  for (;;) {
    const response = await fetch(`${server.url}/notify`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ room, event: 'e', key: 'one' }),
    });
    if (response.status === 200) return;
  }
}

function openedOf(events: readonly Event[]): string[] {
  return events
    .filter(({ type }) => type === 'connection.opened')
    .map(({ connection }) => String(connection));
}

function closedOf(events: readonly Event[]): string[] {
  return events
    .filter(({ type }) => type === 'connection.closed')
    .map(({ connection }) => String(connection));
}
