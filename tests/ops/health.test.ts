import { describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import request from 'supertest';
import { PublisherKeys } from '../../src/auth/keys.js';
import { Postroom } from '../../src/core/postroom.js';
import { MemoryJournal } from '../../src/journal/memory.js';
import { createApp } from '../../src/ops/index.js';
import { connect, token } from '../support/client.js';
import { expectProblem } from '../support/notify.js';
import { KEY, startServer } from '../support/server.js';
import { Refusals } from '../../src/model/refusals.js';
import { systemClock } from '../../src/model/clock.js';
import { PLAIN } from '../support/core.js';
import { localCluster } from '../support/cluster.js';

function rethrow(error: unknown): never {
  throw error;
}

const WITH_KEY = { authorization: `Bearer ${KEY}` };

describe('health', () => {
  it('is live and ready on a server that runs', async () => {
    const server = await startServer();
    for (const path of ['/health/live', '/health/ready', '/health']) {
      const response = await request(server.url).get(path);
      expect(response.status).toBe(200);
      expect(response.body).toEqual({ status: 'ok' });
      expect(response.headers['cache-control']).toBe('no-store');
      await request(server.url).head(path).expect(200);
    }
  });

  it('tells no more to a wrong key than to nobody', async () => {
    const server = await startServer();
    const response = await request(server.url).get('/health').set('authorization', 'Bearer wrong');
    expect(response.status).toBe(200);
    expect(response.body).toEqual({ status: 'ok' });
  });

  it('tells the holder of a key all figures', async () => {
    const server = await startServer();
    await connect(server.ws('/?room=public.a&room=public.b')).then(client => client.nextOf('subscribed'));
    const query = `?room=public.a&token=${token({ sub: 'alice' })}`;
    for (let tab = 0; tab < 2; tab++) await connect(server.ws(query)).then(client => client.next());
    await server.notify({ room: 'public.a', event: 'e', key: 'k' });
    await server.notify({ room: 'public.a', event: 'e', key: 'k' });
    await request(server.url).post('/notify').set(WITH_KEY).send({ rom: 'a' }).expect(400);
    const { body } = await request(server.url).get('/health').set(WITH_KEY);
    expect(body).toEqual({
      status: 'ok',
      version: '0.0.0-test',
      refusals: expect.objectContaining({ 'invalid notification': 1, 'wrong key': 0 }),
      uptimeSeconds: expect.any(Number),
      connections: 3,
      users: 1,
      rooms: 2,
      published: 1,
      journal: { kind: 'memory', available: true, lagMs: 0, entries: 1, bytes: expect.any(Number) },
      sources: { http: { connected: true, taken: 2, refused: 1 } },
      eventLoopDelayMs: { mean: expect.any(Number), p99: expect.any(Number), max: expect.any(Number) },
      memoryBytes: { rss: expect.any(Number), heapUsed: expect.any(Number), external: expect.any(Number) },
    });
    expect(body.journal.bytes).toBeGreaterThan(0);
    expect(JSON.stringify(body)).not.toContain(KEY);
  });

  it('counts who is there now', async () => {
    const server = await startServer();
    const client = await connect(server.ws(`/?room=public.a&token=${token({ sub: 'alice' })}`));
    await client.nextOf('subscribed');
    const other = await connect(server.ws('/'));
    await other.next();
    const figures = async () => (await request(server.url).get('/health').set(WITH_KEY)).body;
    expect(await figures()).toMatchObject({ connections: 2, users: 1, rooms: 1 });
    client.socket.close();
    await client.closed;
    expect(await figures()).toMatchObject({ connections: 1, users: 0, rooms: 0 });
  });

  it('is live but not ready before the start', async () => {
    const retention = { seconds: 600, bytes: 1e6 };
    const journal = new MemoryJournal(retention, systemClock);
    const postroom = new Postroom({
      journal,
      cluster: localCluster(),
      retention,
      maxBufferedBytes: 1e6,
      isShared: false,
      ...PLAIN,
      failed: rethrow,
    });
    const app = createApp({
      postroom,
      keys: new PublisherKeys([KEY]),
      version: '0',
      sources: () => ({}),
      backend: () => ({}),
      detailed: true,
      page: false,
      callerOf: () => '127.0.0.1',
      control: undefined,
      refusals: new Refusals(pino({ level: 'silent' }), Date.now),
      log: pino({ level: 'silent' }),
    });
    await request(app).get('/health/live').expect(200);
    const response = await request(app).get('/health/ready');
    expect(response.status).toBe(503);
    expect(response.headers['retry-after']).toMatch(/^\d+$/);
    expect((await request(app).get('/health')).body).toEqual({ status: 'degraded' });
    await postroom.start();
    await request(app).get('/health/ready').expect(200);
    await journal.close();
    await request(app).get('/health/ready').expect(503);
    expect((await request(app).get('/health')).body).toEqual({ status: 'degraded' });
    await postroom.stop();
  });

  it('is live but not ready while draining', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    // It does not read the closing handshake, so the draining waits for it.
    client.socket.pause();
    const stopped = server.stop();
    const live = await request(server.url).get('/health/live');
    const ready = await request(server.url).get('/health/ready');
    const health = await request(server.url).get('/health');
    client.socket.resume();
    expect(live.status).toBe(200);
    expect(ready.status).toBe(503);
    expect(ready.headers['retry-after']).toMatch(/^\d+$/);
    expect(health.body).toEqual({ status: 'draining' });
    await stopped;
  });

  it.each(['/health', '/health/live', '/health/ready'])('takes no other method at %s', async path => {
    const server = await startServer();
    for (const method of ['post', 'put', 'delete', 'options'] as const) {
      const response = await request(server.url)[method](path);
      expect(expectProblem(response, 405, 'method_not_allowed').detail).toMatch(/GET/);
      expect(response.headers.allow).toBe('GET, HEAD');
    }
  });
});
