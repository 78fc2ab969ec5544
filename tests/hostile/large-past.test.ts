import { describe, expect, it } from '@jest/globals';
import { type RawClient, rawConnect } from '../clients/raw.js';
import type { ServerProcess } from '../support/process.js';
import {
  cpuMs,
  pass,
  publish,
  publishAll,
  quantile,
  type Receipt,
  startPulse,
  startVictim,
  tell,
} from '../support/victim.js';

const ROOMS = 100;
const PAST = 100_000;
// A page that comes back costs about 1 ms. With its own past in a hundred rooms it may cost some more.
const MOST_CPU_MS_PER_CLIENT = 20;
// A page does not notice that.
const LATEST_P99_MS = 250;
// What the server does for three hundred that arrive in one moment keeps one who comes just then waiting.
const LATEST_OF_A_WAVE_MS = 1000;
const A_WAVE = 300;
const PULSE_MS = 20;
const rooms = Array.from({ length: ROOMS }, (_, room) => `public.${room}`);

describe('a large past', () => {
  it.each([100, A_WAVE])(
    'that is all over costs %i clients, who ask for all of it at once, next to nothing',
    async count => {
      const { server, since } = await withPast(() => 1);
      await pass(1500); // until the ttl has passed
      const opened = await openedAtOnce(server, count, `/ws?since=${since}&rooms=${rooms.join()}`);
      const clients = opened.clients;
      const ids = await Promise.all(clients.map(client => untilSubscribed(client, ROOMS)));
      await opened.judge(`a past that is over, ${count} clients`);
      expect(ids.flat()).toEqual([]);
    },
    40_000,
  );

  it('of which each client is owed one room, comes to all of them', async () => {
    const { server, since, ids } = await withPast(() => undefined);
    const opened = await openedAtOnce(server, 100, `/ws?since=${since}&room=public.7`);
    const wanted = ids.filter((_, index) => index % ROOMS === 7);
    const heard = await Promise.all(opened.clients.map(client => untilHeard(client, wanted.length)));
    await opened.judge('a past of one room in a hundred, 100 clients');
    for (const each of heard) expect(each).toEqual(wanted);
  }, 60_000);

  it('that is half over comes without that half', async () => {
    // A room has both: the ttl of every second hundred is over.
    const isOver = (index: number) => Math.floor(index / ROOMS) % 2 === 0;
    const { server, since, ids } = await withPast(index => (isOver(index) ? 1 : undefined));
    await pass(1500); // until the ttl has passed
    const wanted = ids.filter((_, index) => !isOver(index));
    const opened = await openedAtOnce(server, 5, `/ws?since=${since}&rooms=${rooms.join()}`);
    const heard = await Promise.all(opened.clients.map(client => untilHeard(client, wanted.length)));
    const beats = await opened.stop();
    tell('a past that is half over, 5 clients', { 'live p99 ms': quantile(beats, 0.99) });
    for (const each of heard) expect(each).toEqual(wanted);
  }, 60_000);
});

/** A server with a hundred thousand notifications, and the id before all of them. */
async function withPast(
  ttlOf: (index: number) => number | undefined,
): Promise<{ server: ServerProcess; since: string; ids: string[] }> {
  const server = await startVictim({ RETENTION_BYTES: String(256 * 1024 * 1024) });
  const { body } = await publish<Receipt>(server, { room: 'public.before', event: 'e' });
  const past = Array.from({ length: PAST }, (_, index) => ({
    room: rooms[index % ROOMS],
    event: 'e',
    ttl: ttlOf(index),
  }));
  return { server, since: body.id, ids: await publishAll(server, past) };
}

/** Opens all together, and watches them until `judge`. */
async function openedAtOnce(server: ServerProcess, count: number, path: string) {
  const pulse = await startPulse(server, PULSE_MS);
  const cpuBefore = cpuMs(server);
  const clients = await Promise.all(Array.from({ length: count }, () => rawConnect(server.url, path)));
  const stop = async () => (await pulse.stop()).map(({ took }) => took);
  return {
    clients,
    stop,
    async judge(what: string) {
      const cpu = (cpuMs(server) - cpuBefore) / count;
      const beats = await stop();
      const p99 = quantile(beats, 0.99);
      tell(what, { 'CPU ms a client': cpu, 'live p99 ms': p99, 'latest ms': quantile(beats, 1) });
      expect(cpu).toBeLessThan(MOST_CPU_MS_PER_CLIENT);
      expect(p99).toBeLessThan(count < A_WAVE ? LATEST_P99_MS : LATEST_OF_A_WAVE_MS);
    },
  };
}

/** The ids of the notifications before the client was in all its rooms, and before a pong. */
async function untilSubscribed(client: RawClient, count: number): Promise<unknown[]> {
  expect(await client.nextJson()).toMatchObject({ type: 'welcome', recovered: true });
  const heard = [];
  let joined = 0;
  client.send({ type: 'ping' });
  for (;;) {
    const frame = await client.nextJson();
    if (frame.type === 'subscribed') joined++;
    if (frame.type === 'notification') heard.push(frame.id);
    if (frame.type !== 'pong') continue;
    expect(joined).toBe(count);
    return heard;
  }
}

/** The ids of so many notifications, and of those after them up to a pong. */
async function untilHeard(client: RawClient, count: number): Promise<unknown[]> {
  expect(await client.nextJson()).toMatchObject({ type: 'welcome', recovered: true });
  const heard = [];
  for (;;) {
    const frame = await client.nextJson();
    if (frame.type === 'notification' && heard.push(frame.id) === count) client.send({ type: 'ping' });
    if (frame.type === 'pong') return heard;
  }
}
