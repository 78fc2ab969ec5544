import { expect } from '@jest/globals';
import type { ServerProcess } from '../support/process.js';
import {
  comesToBe,
  connectionsOf,
  deafPeer,
  heldMemory,
  MIB,
  pipelined,
  quantile,
  startPulse,
  tell,
} from '../support/victim.js';

const PEERS = 40;
// All that may wait for its connections (MAX_BUFFERED_BYTES is 1 MiB), and some for the heap's own growth.
const MOST_HELD = 64 * MIB;
// While thousands of requests are read for the first time. A supervisor that asks every second does not give up.
const LATEST_WHILE_ARRIVING_MS = 1000;
const ARRIVING_MS = 10_000;
// A page does not notice that.
const LATEST_AFTERWARDS_MS = 250;

/** Forty peers at once, that never read. Returns when they came, and how many connections there were before. */
export async function askedAndNotRead(
  server: ServerProcess,
  request: string,
): Promise<{ began: number; connections: number }> {
  // The very first requests leave something behind: it does not count.
  for (let warm = 0; warm < 200; warm++) await fetch(`${server.url}/client.js`).then(got => got.text());
  const before = await heldMemory(server, 2);
  const connections = connectionsOf(server);
  const pulse = await startPulse(server, 20);
  const began = Date.now();
  const peers = Array.from({ length: PEERS }, () => deafPeer(server, pipelined(request)));
  await Promise.all(peers);
  await comesToBe(() => Date.now() - began > ARRIVING_MS, ARRIVING_MS + 1000);
  const held = (await heldMemory(server, 3)) - before;
  const beats = await pulse.stop();
  const latest = (from: number, until: number) =>
    quantile(
      beats.filter(({ at }) => at >= from && at < until).map(({ took }) => took),
      1,
    );
  const whileArriving = latest(began, began + ARRIVING_MS);
  const afterwards = latest(began + ARRIVING_MS, Number.POSITIVE_INFINITY);
  tell(`unread answers, ${PEERS} × ${request.split('\r')[0]}`, {
    'held MiB': held / MIB,
    'latest while arriving ms': whileArriving,
    'latest afterwards ms': afterwards,
  });
  expect(beats.every(({ ok }) => ok)).toBe(true);
  expect(held).toBeLessThan(MOST_HELD);
  expect(whileArriving).toBeLessThan(LATEST_WHILE_ARRIVING_MS);
  expect(afterwards).toBeLessThan(LATEST_AFTERWARDS_MS);
  return { began, connections };
}
