import { describe, expect, it } from '@jest/globals';
import { BROKER_TIMEOUT } from '../support/broker.js';
import type { TestClient } from '../support/client.js';
import { reportOf, untilReport } from '../support/health.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { type Event, WebhookReceiver } from '../support/receiver.js';
import { startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { KEY } from '../support/server.js';
import { exactlyOnce, settings, visit } from '../support/visits.js';

type Answer = Record<string, unknown> & { status: number };

async function ask(server: ServerProcess, path: string, body?: object): Promise<Answer> {
  const response = await fetch(server.url + path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: response.status, ...((await response.json()) as object) };
}

const post = (server: ServerProcess, body: object) => ask(server, '/notify', body);

/** Resolves when an acknowledgement has been counted. */
async function acknowledge(server: ServerProcess, client: TestClient): Promise<string> {
  const { id } = await client.nextOf('notification');
  client.send({ type: 'ack', id });
  while ((await ask(server, `/notifications/${id}`)).acknowledged === 0);
  return String(id);
}

/** What was told, without repetitions of one request: the event and the user. */
function told(events: readonly Event[]): string[] {
  return exactlyOnce(events)
    .map(({ notification, user }) => `${(notification as { event: string }).event} ${user}`)
    .sort();
}

/** What was told when everything up to now has been told. */
async function toldSoFar(server: ServerProcess, receiver: WebhookReceiver): Promise<string[]> {
  await post(server, { user: 'last', event: 'last', ack: 1 });
  await receiver.until(() => told(receiver.taken).includes('last last'));
  return told(receiver.taken).filter(text => text !== 'last last');
}

/** The frames of a room since a cursor, up to one event. */
async function eventsSince(server: ServerProcess, cursor: string, last: string): Promise<unknown[]> {
  const client = await visit(server, `public.a&since=${cursor}`);
  const events: unknown[] = [];
  while (events.at(-1) !== last) events.push((await client.nextOf('notification')).event);
  return events;
}

describe('a server with a disk', () => {
  async function start() {
    const receiver = await WebhookReceiver.start();
    const environment = settings(receiver, { JOURNAL: 'disk', WEBHOOK_EVENTS: 'notification.missed' });
    const server = await startProcess(environment);
    return { receiver, environment, server };
  }

  it(
    'is killed before and after deadlines: what was missed is told, what was acknowledged is not',
    async () => {
      const { receiver, environment, server } = await start();
      const ann = await visit(server, 'public.a', 'ann');
      await post(server, { user: 'bob', event: 'told', ack: 1 });
      await receiver.events(1);
      await post(server, { users: ['ann', 'cem'], event: 'acknowledged', ack: 4 });
      await acknowledge(server, ann);
      await post(server, { user: 'bob', event: 'over', ack: 1 });
      await post(server, { user: 'bob', event: 'later', ack: 5 });
      await server.stop('SIGKILL');
      const again = await startProcess(environment, server.directory);
      await receiver.events(4);
      await again.stop('SIGKILL');
      const third = await startProcess(environment, server.directory);
      expect(await toldSoFar(third, receiver)).toEqual([
        'acknowledged cem',
        'later bob',
        'over bob',
        'told bob',
      ]);
    },
    BROKER_TIMEOUT,
  );

  it(
    'is killed while something waits, and while it is due: it is sent once',
    async () => {
      const { environment, server } = await start();
      const { id } = await post(server, { room: 'public.a', event: 'begin' });
      const count = 300;
      const batch = Array.from({ length: count }, (_, index) => ({
        room: 'public.a',
        event: String(index),
        delay: 2,
      }));
      await post(server, [{ room: 'public.a', event: 'soon', delay: 0.5 }, ...batch] as unknown as object);
      const client = await visit(server, 'public.a');
      expect(await client.nextOf('notification')).toMatchObject({ event: 'soon' });
      await server.stop('SIGKILL');
      const again = await startProcess(environment, server.directory);
      const reader = await visit(again, `public.a&since=${id}`);
      // In the middle of those that are due.
      while ((await reader.nextOf('notification')).event !== '150');
      await again.stop('SIGKILL');
      const third = await startProcess(environment, server.directory);
      await post(third, { room: 'public.a', event: 'end', delay: 0.01 });
      const events = await eventsSince(third, String(id), 'end');
      expect(events).toEqual(['soon', ...batch.map(({ event }) => event), 'end']);
      // What was sent is forgotten a moment later.
      while (((await ask(third, '/notifications?scheduled')).scheduled as unknown[]).length > 0)
        await new Promise(setImmediate);
    },
    BROKER_TIMEOUT,
  );

  it(
    'that stops answers publishers who wait with what is known',
    async () => {
      const { server } = await start();
      const [ann, bob] = [await visit(server, 'public.a', 'ann'), await visit(server, 'public.a', 'bob')];
      const answer = post(server, { room: 'public.a', event: 'e', ack: 60, wait: 30 });
      await bob.nextOf('notification');
      await acknowledge(server, ann);
      const stopped = server.stop();
      expect(await answer).toMatchObject({ status: 200, connections: 2, acknowledged: 1 });
      expect(await stopped).toBe(0);
    },
    BROKER_TIMEOUT,
  );
});

describeWith(['own-redis'], 'two nodes with Redis', () => {
  async function start() {
    const redis = await startRedis({ args: ['--appendfsync', 'always'] });
    const receiver = await WebhookReceiver.start();
    const environment = settings(receiver, {
      JOURNAL: 'redis',
      REDIS_URL: redis.url,
      WEBHOOK_EVENTS: 'notification.missed',
    });
    return { receiver, startNode: () => startProcess(environment) };
  }

  it(
    'the one that sends dies: the other tells what was missed, once for each user',
    async () => {
      const { receiver, startNode } = await start();
      const [one, two] = [await startNode(), await startNode()];
      for (const node of [one, two]) await untilReport(node, ({ journal }) => journal.nodes?.length === 2);
      for (;;) {
        if ((await reportOf(one)).webhooks?.sending || (await reportOf(two)).webhooks?.sending) break;
      }
      const [sender, other] = (await reportOf(one)).webhooks?.sending ? [one, two] : [two, one];
      const here = await visit(sender, 'public.a', 'ann');
      const there = await visit(other, 'public.a', 'bob');
      await post(sender, { user: 'first', event: 'before', ack: 1 });
      await receiver.events(1);
      await post(other, { users: ['ann', 'bob', 'cem', 'dan'], room: 'public.a', event: 'e', ack: 2 });
      await acknowledge(sender, here);
      await acknowledge(other, there);
      await post(other, { room: 'public.nobody', event: 'room', ack: 2 });
      const began = performance.now();
      await sender.stop('SIGKILL');
      await receiver.events(4);
      console.log(`a sender was killed: the other told after ${Math.round(performance.now() - began)} ms`);
      expect(performance.now() - began).toBeLessThan(15_000);
      expect(await toldSoFar(other, receiver)).toEqual(['before first', 'e cem', 'e dan', 'room null']);
    },
    BROKER_TIMEOUT,
  );

  it(
    'the one that sends what waited dies: the other sends it within seconds, once',
    async () => {
      const { startNode } = await start();
      const one = await startNode();
      const { id } = await post(one, { room: 'public.a', event: 'begin' });
      const client = await visit(one, 'public.a');
      // It sends, and goes on with it as long as something waits.
      await post(one, { room: 'public.a', event: 'never', delay: 3600 });
      await post(one, { room: 'public.a', event: 'first', delay: 0.2 });
      await client.nextOf('notification');
      const two = await startNode();
      const at = new Date(Date.now() + 1500).toISOString();
      const batch = Array.from({ length: 200 }, (_, index) => ({
        room: 'public.a',
        event: String(index),
        at,
      }));
      await post(one, batch as unknown as object);
      await client.nextOf('notification');
      const began = performance.now();
      await one.stop('SIGKILL');
      await post(two, { room: 'public.a', event: 'end', delay: 0.01 });
      const events = await eventsSince(two, String(id), 'end');
      console.log(`a sender was killed: the other sent after ${Math.round(performance.now() - began)} ms`);
      expect(performance.now() - began).toBeLessThan(10_000);
      expect(events).toEqual(['first', ...batch.map(({ event }) => event), 'end']);
      const removed = await fetch(`${two.url}/notifications/${'0'.repeat(15)}-${'0'.repeat(15)}-000000-abc`, {
        method: 'DELETE',
        headers: { authorization: `Bearer ${KEY}` },
      });
      expect(removed.status).toBe(404);
    },
    BROKER_TIMEOUT,
  );
});
