import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { rawConnect } from '../clients/raw.js';
import { notifyHead, withSocket } from '../support/raw.js';
import { KEY } from '../support/server.js';
import {
  comesToBe,
  connectionsOf,
  deafPeer,
  publish,
  startPulse,
  startVictim,
  tell,
} from '../support/victim.js';

const MOST = 50;
const PEERS = 200;
// The listening socket's own descriptors, and one that is just being closed.
const BESIDE = 2;
// A publisher waits no longer than that (README).
const LATEST_ANSWER_MS = 1000;
const settings = { MAX_HTTP_CONNECTIONS: String(MOST) };
const body = { room: 'public.a', event: 'e' };

describe('connections that say nothing, or never come to the point', () => {
  it.each([
    ['nothing', ''],
    ['half a request line', 'POST /not'],
    ['half a head', 'GET /health/live HTTP/1.1\r\nHost: x\r\nX-More'],
  ])(
    'are bounded in number, and publishers get their answers: %s',
    async (what, said) => {
      const server = await startVictim(settings);
      const before = connectionsOf(server);
      for (let peer = 0; peer < PEERS; peer++) await deafPeer(server, said);
      const { status, took } = await timed(() => publish(server, body));
      await comesToBe(() => connectionsOf(server) - before <= MOST + BESIDE, 2000);
      const held = connectionsOf(server) - before;
      tell(`${PEERS} connections that say ${what}`, { 'answer to a publisher ms': took, held });
      expect(status).toBe(200);
      expect(took).toBeLessThan(LATEST_ANSWER_MS);
      expect(held).toBeLessThanOrEqual(MOST + BESIDE);
    },
    20_000,
  );

  it('are let go of when they have sent their heads byte by byte for too long', async () => {
    const server = await startVictim({ ...settings, REQUEST_TIMEOUT_SECONDS: '2' });
    const before = connectionsOf(server);
    const sockets: Socket[] = [];
    for (let peer = 0; peer < MOST; peer++)
      sockets.push(await deafPeer(server, 'GET /health/live HTTP/1.1\r\n'));
    const dripping = setInterval(() => {
      for (const socket of sockets) if (socket.writable) socket.write('x');
    }, 50);
    const isClosed = await comesToBe(() => connectionsOf(server) <= before, 5000);
    clearInterval(dripping);
    expect(isClosed).toBe(true);
    expect((await publish(server, body)).status).toBe(200);
  }, 20_000);

  it('make no room where a request is under way', async () => {
    const server = await startVictim(settings);
    await withSocket(server.url, async publisher => {
      const text = JSON.stringify(body);
      publisher.send(notifyHead({ 'Content-Length': String(text.length) }) + text.slice(0, 5));
      // The server has read that head when it answers this one.
      await (await fetch(`${server.url}/health/live`)).text();
      for (let peer = 0; peer < PEERS; peer++) await deafPeer(server, '');
      publisher.send(text.slice(5));
      expect((await publisher.answer()).status).toBe(200);
    });
  }, 20_000);

  it('keep out no WebSocket, and those are not counted', async () => {
    const server = await startVictim({ MAX_HTTP_CONNECTIONS: '10' });
    for (let client = 0; client < 30; client++) await rawConnect(server.url, '/ws?room=public.a');
    for (let peer = 0; peer < 30; peer++) await deafPeer(server, '');
    const report = await fetch(`${server.url}/health`, { headers: { authorization: `Bearer ${KEY}` } });
    expect(await report.json()).toMatchObject({ connections: 30 });
  }, 20_000);

  it('keep nobody waiting while a thousand of them come and go', async () => {
    const server = await startVictim(settings);
    const pulse = await startPulse(server, 20);
    for (let peer = 0; peer < 1000; peer++) await deafPeer(server, 'GET / HT');
    const { status, took } = await timed(() => publish(server, body));
    const beats = await pulse.stop();
    tell('1,000 connections that say half a request line', {
      'answer to a publisher ms': took,
      'live latest ms': Math.max(...beats.map(beat => beat.took)),
      'live failed': beats.filter(({ ok }) => !ok).length,
    });
    expect(status).toBe(200);
    expect(took).toBeLessThan(LATEST_ANSWER_MS);
  }, 20_000);
});

async function timed<T extends object>(ask: () => Promise<T>): Promise<T & { took: number }> {
  const began = performance.now();
  const answer = await ask();
  return { ...answer, took: performance.now() - began };
}
