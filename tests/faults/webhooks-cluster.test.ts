import { setTimeout as passes } from 'node:timers/promises';
import { expect, it } from '@jest/globals';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { reportOf, untilReport } from '../support/health.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { TAKEN, WebhookReceiver } from '../support/receiver.js';
import { startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { KEY } from '../support/server.js';
import { allSoFar, closedOf, exactlyOnce, leave, settings, sorted, told, visit } from '../support/visits.js';

const REDIS_AWAY_MS = 6000;

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
