import { afterAll, describe, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '../support/client.js';
import { KEY, startServer, type TestServer } from '../support/server.js';

type Answer = Record<string, unknown> & { status: number };

const folder = mkdtempSync(join(tmpdir(), 'postroom-schedule-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function ask(server: TestServer, method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(server.url + path, {
    method,
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { status: response.status, ...((await response.json()) as object) };
}

const post = (server: TestServer, body: unknown) => ask(server, 'POST', '/notify', body);
const waiting = (server: TestServer, query = '') => ask(server, 'GET', `/notifications?scheduled${query}`);

async function listen(server: TestServer) {
  const client = await connect(server.ws('/ws?room=public.a'));
  await client.nextOf('subscribed');
  return client;
}

describe('a notification for later', () => {
  it('is accepted with 202, and comes at its moment', async () => {
    const server = await startServer();
    const client = await listen(server);
    const at = Date.now() + 1500;
    const answer = await post(server, { room: 'public.a', event: 'later', at: at / 1000 });
    expect(answer).toEqual({
      status: 202,
      scheduled: expect.stringMatching(/^[\d-]+[\da-f]+$/),
      at: new Date(at).toISOString(),
      duplicate: false,
    });
    await post(server, { room: 'public.a', event: 'now' });
    expect(await client.next()).toMatchObject({ event: 'now' });
    expect(await client.next()).toMatchObject({ event: 'later' });
    expect(Date.now()).toBeGreaterThanOrEqual(at);
    // It is forgotten a moment later.
    while (((await waiting(server)).scheduled as object[]).length > 0) await new Promise(setImmediate);
  });

  it('comes after a delay, in the order of the moments, and of the posts at one moment', async () => {
    const server = await startServer();
    const client = await listen(server);
    const at = new Date(Date.now() + 2000).toISOString();
    for (const event of ['b', 'c']) await post(server, { room: 'public.a', event, at });
    await post(server, { room: 'public.a', event: 'a', delay: 0.5 });
    const events: unknown[] = [];
    for (let count = 0; count < 3; count++) events.push((await client.next()).event);
    expect(events).toEqual(['a', 'b', 'c']);
  });

  it('whose moment is past is sent now', async () => {
    const server = await startServer();
    for (const when of [{ at: '2020-01-01T00:00:00Z' }, { at: 0 }, { delay: 0 }])
      expect(await post(server, { room: 'public.a', event: 'e', ...when })).toMatchObject({
        status: 200,
        connections: 0,
      });
  });

  it('is listed as it was posted, in pages, and can be taken back', async () => {
    const server = await startServer();
    const at = new Date(Date.now() + 3_600_000).toISOString();
    const ids: string[] = [];
    for (const event of ['a', 'b', 'c']) {
      const body = `{"room":"public.a","event":"${event}","data":{"n":1.0},"at":"${at}","key":"${event}"}`;
      ids.push(String((await post(server, body)).scheduled));
    }
    const first = await waiting(server, '&limit=2');
    expect(first).toEqual({
      status: 200,
      scheduled: ['a', 'b'].map((event, index) => ({
        scheduled: ids[index],
        at,
        notification: { room: 'public.a', event, key: event, data: { n: 1 } },
      })),
      next: ids[1],
    });
    expect(await waiting(server, `&after=${first.next}`)).toMatchObject({
      scheduled: [{ scheduled: ids[2] }],
      next: null,
    });
    expect(await ask(server, 'DELETE', `/notifications/${ids[1]}`)).toEqual({ status: 200, cancelled: true });
    expect(await ask(server, 'DELETE', `/notifications/${ids[1]}`)).toMatchObject({ status: 404 });
    expect(((await waiting(server)).scheduled as object[]).length).toBe(2);
    // Its key is free again.
    const again = await post(server, { room: 'public.a', event: 'other', key: 'b' });
    expect(again).toMatchObject({ status: 200, duplicate: false });
  });

  it('has a key that counts from now on', async () => {
    const server = await startServer();
    const later = { room: 'public.a', event: 'e', key: 'k', delay: 3600 };
    const [one, two] = await Promise.all([post(server, later), post(server, { ...later, data: 2 })]);
    expect([one.duplicate, two.duplicate].sort()).toEqual([false, true]);
    expect(two.scheduled).toBe(one.scheduled);
    const { delay: _delay, ...now } = later;
    expect(await post(server, now)).toMatchObject({ status: 202, scheduled: one.scheduled, duplicate: true });
    expect(await post(server, { ...now, event: 'f' })).toMatchObject({ status: 422, code: 'key_reused' });
    expect(((await waiting(server)).scheduled as object[]).length).toBe(1);
  });

  it('is a duplicate if its key was sent before', async () => {
    const server = await startServer();
    const now = { room: 'public.a', event: 'e', key: 'k' };
    const { id } = await post(server, now);
    expect(await post(server, { ...now, delay: 60 })).toEqual({
      status: 200,
      id,
      connections: 0,
      duplicate: true,
    });
    expect(await post(server, { ...now, event: 'f', delay: 60 })).toMatchObject({ status: 422 });
    expect(await waiting(server)).toMatchObject({ scheduled: [] });
  });

  it('in a batch has its own answer', async () => {
    const server = await startServer();
    const answer = await post(server, [
      { room: 'public.a', event: 'now' },
      { room: 'public.a', event: 'later', delay: 60 },
    ]);
    expect(answer).toMatchObject({ status: 200, results: [{ connections: 0 }, { duplicate: false }] });
    expect((answer.results as object[])[1]).toHaveProperty('scheduled');
  });

  it('survives a restart; what is due meanwhile is sent at the start, once', async () => {
    const settings = { JOURNAL: 'disk', DATA_DIR: join(folder, 'restart') };
    const before = await startServer(settings);
    const { id } = await before.notify({ room: 'public.a', event: 'before' });
    await post(before, { room: 'public.a', event: 'due', delay: 1 });
    await post(before, { room: 'public.a', event: 'waits', delay: 3600 });
    await before.stop();
    const due = Date.now() + 1000;
    while (Date.now() < due) await new Promise(setImmediate);
    for (let round = 0; round < 2; round++) {
      const server = await startServer(settings);
      const client = await connect(server.ws(`/ws?room=public.a&since=${id}`));
      await client.nextOf('subscribed');
      expect(await client.next()).toMatchObject({ event: 'due' });
      await client.quiet();
      // What was sent is forgotten a moment later.
      let left = await waiting(server);
      while ((left.scheduled as object[]).length > 1) left = await waiting(server);
      expect(left).toMatchObject({ scheduled: [{ notification: { event: 'waits' } }] });
      await server.stop();
    }
  });

  it('leaves in order after a long time, and others do not wait for it', async () => {
    const server = await startServer();
    const client = await listen(server);
    const at = Date.now() / 1000 + 1.5;
    const count = 2000;
    for (let from = 0; from < count; from += 1000) {
      const batch = Array.from({ length: 1000 }, (_, n) => ({ room: 'public.a', event: `${from + n}`, at }));
      expect(await post(server, batch)).toMatchObject({ status: 200 });
    }
    for (let number = 0; number < count; number++)
      expect((await client.nextOf('notification')).event).toBe(`${number}`);
  });

  it.each([
    [{ at: 'tomorrow' }, /at must be a moment/],
    [{ at: '2026-02-30T99:00:00Z' }, /at must be a moment/],
    [{ at: '2026-12-24T18:00:00' }, /at must be a moment/],
    [{ at: true }, /at must be a moment/],
    [{ at: 1, delay: 1 }, /at cannot be used with delay/],
    [{ delay: -1 }, /delay must be a number of seconds from 0/],
    [{ delay: '5' }, /delay must be a number/],
    [{ delay: 30 * 24 * 3600 + 1 }, /30 days/],
    [{ at: Date.now() / 1000 + 31 * 24 * 3600 }, /in the next 30 days/],
    [{ delay: 5, ack: 5, wait: 5 }, /wait cannot be used with at or delay/],
    [{ wait: 5 }, /wait needs ack/],
    [{ ack: 601 }, /ack must be a whole number of seconds from 1 to 600/],
    [{ ack: 0 }, /ack must be a whole number/],
    [{ ack: 5, wait: 31 }, /wait must be a whole number of seconds from 0 to 30/],
    [{ collapse: 'c'.repeat(201) }, /collapse must be 1 to 200 characters/],
    [{ collapse: '' }, /collapse must be 1 to 200 characters/],
    [{ ack: 5, data: '\ud800' }, /data has half a character/],
  ])('with %j is refused with a sentence', async (wrong, message) => {
    const server = await startServer();
    expect(await post(server, { room: 'public.a', event: 'e', ...wrong })).toMatchObject({
      status: 400,
      detail: expect.stringMatching(message),
    });
  });

  it('does not wait for an answer in a batch', async () => {
    const server = await startServer();
    const answer = await post(server, [{ room: 'public.a', event: 'e', ack: 5, wait: 5 }]);
    expect(answer).toMatchObject({
      status: 207,
      results: [{ error: { detail: expect.stringMatching(/batch/) } }],
    });
  });

  it.each(['/notifications', '/notifications?scheduled&limit=0', '/notifications?scheduled&after=x y'])(
    'is not listed at %s',
    async path => {
      const server = await startServer();
      expect(await ask(server, 'GET', path)).toMatchObject({ status: 400 });
    },
  );
});
