import { describe, expect, it } from '@jest/globals';
import { notifyRequest, withSocket } from '../support/raw.js';
import { comesToBe, deafPeer, MIB, pipelined, publish, rss, startVictim, tell } from '../support/victim.js';

const PEERS = 120;
const HEAP_MIB = 512;
// 120 peers ask for gigabytes of answers. If the server held them all, it would end within this time.
const WATCHED_MS = 40_000;

describe('120 peers that never read, and a heap of 512 MB', () => {
  it('leave the process alive, and publishers answered', async () => {
    const server = await startVictim({}, `--max-old-space-size=${HEAP_MIB}`);
    const request = pipelined('GET /client.js HTTP/1.1\r\nHost: x\r\n\r\n');
    await Promise.all(Array.from({ length: PEERS }, () => deafPeer(server, request)));
    let most = 0;
    const hasEnded = () => {
      try {
        most = Math.max(most, rss(server) || 0);
        return Number.isNaN(rss(server));
      } catch {
        return true; // the process is gone
      }
    };
    await comesToBe(hasEnded, WATCHED_MS);
    const status = await publish(server, { room: 'public.a', event: 'e' }).then(
      answer => answer.status,
      () => undefined,
    );
    tell(`unread answers, ${PEERS} peers, a heap of ${HEAP_MIB} MB`, {
      ended: hasEnded(),
      'most RSS MiB': most / MIB,
      status: String(status),
    });
    expect(hasEnded()).toBe(false);
    expect(status).toBe(200);
  }, 80_000);
});

describe('a client that asks a hundred times at once, and reads', () => {
  it('gets a hundred answers in order', async () => {
    const server = await startVictim();
    const post = notifyRequest(JSON.stringify({ room: 'public.a', event: 'e' }));
    const kinds = [
      { bytes: post, status: 200 },
      { bytes: Buffer.from('GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n'), status: 404 },
      { bytes: Buffer.from('GET /client.js HTTP/1.1\r\nHost: x\r\n\r\n'), status: 200 },
      { bytes: Buffer.from('GET /notify HTTP/1.1\r\nHost: x\r\n\r\n'), status: 405 },
    ];
    const asked = Array.from({ length: 100 }, (_, index) => kinds[index % kinds.length] ?? kinds[0]);
    const answers = await withSocket(server.url, async client => {
      client.send(Buffer.concat(asked.map(kind => kind?.bytes ?? post)));
      const got = [];
      for (const _ of asked) got.push(await client.answer());
      return got;
    });
    expect(answers.map(({ status }) => status)).toEqual(asked.map(kind => kind?.status));
    const ids = answers.flatMap(({ body }) => (typeof body.id === 'string' ? [body.id] : []));
    const byAge = ids.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }));
    expect(ids).toHaveLength(25);
    expect(new Set(ids).size).toBe(25);
    expect(ids).toEqual(byAge);
  });
});
