import { describe, expect, it } from '@jest/globals';
import { untilReport } from '../support/health.js';
import { startProcess } from '../support/process.js';
import { type Event, TAKEN, WebhookReceiver } from '../support/receiver.js';
import {
  allSoFar,
  closedOf,
  leave,
  openedOf,
  settings,
  sorted,
  told,
  type Visitor,
  visit,
} from '../support/visits.js';

const TIMEOUT = 60_000;
const KILLS = 5;
const VISITORS = 8;

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
    TIMEOUT,
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
    TIMEOUT,
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
      // What was not stored at a kill is not told: on a busy disk that may be the visits of a second or two.
      expect(new Set(openedOf(events)).size).toBeGreaterThan(visits / 10);
      expect(receiver.mostAtOnce).toBe(1);
      for (const delivery of receiver.deliveries)
        expect(delivery.events).toEqual(receiver.deliveries.find(({ id }) => id === delivery.id)?.events);
    },
    TIMEOUT,
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
    TIMEOUT,
  );
});
