import { describe, expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { expectProblem, post } from '../support/notify.js';
import { notifyRequest, withSocket } from '../support/raw.js';
import { startServer } from '../support/server.js';
import { clockOf } from '../support/clock.js';

describe('an idempotency key', () => {
  it('sends nothing the second time, whatever its data says, and answers the first id', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/?room=public.a&room=public.b'));
    await client.nextOf('subscribed');
    await client.nextOf('subscribed');
    const first = await post(server, { room: 'public.a', event: 'e', data: 1, key: 'k' });
    expect(first.body).toMatchObject({ connections: 1, duplicate: false });
    for (const body of [
      { room: 'public.a', event: 'e', data: 1, key: 'k' },
      { rooms: ['public.a'], event: 'e', data: 2, key: 'k', ttl: 0 },
    ]) {
      const again = await post(server, body);
      expect(again.status).toBe(200);
      expect(again.body).toMatchObject({ id: first.body.id, duplicate: true });
    }
    expect(await client.next()).toMatchObject({ data: 1 });
    await client.quiet();
  });

  it('is refused for another event or other addresses, and says what it stands for', async () => {
    const server = await startServer();
    const first = await post(server, { room: 'public.a', event: 'e', key: 'k' });
    for (const other of [
      { room: 'public.b', event: 'e' },
      { room: 'public.a', event: 'other' },
    ]) {
      const { detail } = expectProblem(await post(server, { ...other, key: 'k' }), 422, 'key_reused');
      expect(detail).toContain('"k"');
      expect(detail).toContain(first.body.id);
    }
    const batch = await post(server, [
      { room: 'public.b', event: 'e', key: 'k' },
      { room: 'public.a', event: 'e', key: 'k' },
    ]);
    expect(batch.status).toBe(207);
    expect(batch.body.results).toMatchObject([
      { error: { code: 'key_reused', status: 422 } },
      { id: first.body.id, duplicate: true },
    ]);
  });

  it('is the same in the body and in the header', async () => {
    const server = await startServer();
    const body = { room: 'public.a', event: 'e' };
    const first = await post(server, { ...body, key: 'order-1' });
    const header = await post(server, body, { 'idempotency-key': 'order-1' });
    const both = await post(server, { ...body, key: 'order-1' }, { 'idempotency-key': 'order-1' });
    for (const { body: receipt } of [header, both])
      expect(receipt).toMatchObject({ id: first.body.id, duplicate: true });
    const other = await post(server, body, { 'idempotency-key': 'order-2' });
    expect(other.body).toMatchObject({ duplicate: false });
  });

  it('may hold any Unicode, in the header as UTF-8', async () => {
    const server = await startServer();
    const key = 'bestellung-ä-付款-😀';
    const first = await post(server, { room: 'a', event: 'e', key });
    const bytes = Buffer.from(key).toString('latin1');
    const again = await withSocket(server.url, async socket => {
      socket.send(notifyRequest('{"room":"a","event":"e"}', { 'Idempotency-Key': bytes }));
      return socket.answer();
    });
    expect(again.body).toMatchObject({ id: first.body.id, duplicate: true });
  });

  it('in a header that is no UTF-8 never passes for another key', async () => {
    const server = await startServer();
    const answers = await withSocket(server.url, async socket => {
      const post = async (key: string) => {
        socket.send(notifyRequest('{"room":"a","event":"e"}', { 'Idempotency-Key': key }));
        return socket.answer();
      };
      return [await post('bestellung-\xe4'), await post('bestellung-\xf6')];
    });
    expect(answers.filter(({ body }) => body.duplicate === true)).toEqual([]);
  });

  it.each(['', 'x'.repeat(201)])('in the header is refused when it is not 1 to 200 characters', async key => {
    const server = await startServer();
    const response = await withSocket(server.url, async socket => {
      socket.send(notifyRequest('{"room":"a","event":"e"}', { 'Idempotency-Key': key }));
      return socket.answer();
    });
    const { errors } = expectProblem(response, 400, 'invalid_notification');
    expect(errors).toEqual([
      { path: 'Idempotency-Key', message: expect.stringMatching(/1 to 200 characters/) },
    ]);
  });

  it('that differs between body and header is refused', async () => {
    const server = await startServer();
    const response = await post(
      server,
      { room: 'a', event: 'e', key: 'one' },
      { 'idempotency-key': 'other' },
    );
    expect(expectProblem(response, 400, 'invalid_notification').errors?.[0]?.path).toBe('key');
  });

  it('of a notification that was refused is still free', async () => {
    const server = await startServer();
    await post(server, { room: ' ', event: 'e', key: 'k' }).expect(400);
    const response = await post(server, { room: 'a', event: 'e', key: 'k' });
    expect(response.body).toMatchObject({ duplicate: false });
  });

  it('lets one of many at the same time through', async () => {
    const server = await startServer();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => post(server, { room: 'a', event: 'e', key: 'k' })),
    );
    expect(answers.filter(({ body }) => body.duplicate === false)).toHaveLength(1);
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
  });

  it('in a batch counts for each of its items', async () => {
    const server = await startServer();
    const item = { room: 'a', event: 'e' };
    const response = await post(server, [{ ...item, key: 'k' }, item, { ...item, key: 'k' }, item]);
    const duplicates = response.body.results.map((result: { duplicate: boolean }) => result.duplicate);
    expect(duplicates).toEqual([false, false, true, false]);
    expect(response.body.results[2].id).toBe(response.body.results[0].id);
  });

  it('in the header of a batch makes the whole batch safe to repeat', async () => {
    const server = await startServer();
    const batch = [1, 2, 3].map(data => ({ room: 'a', event: 'e', data }));
    const first = await post(server, batch, { 'idempotency-key': 'batch-1' });
    const again = await post(server, batch, { 'idempotency-key': 'batch-1' });
    const results = (response: typeof first): { id: string; duplicate: boolean }[] => response.body.results;
    expect(results(first).map(result => result.duplicate)).toEqual([false, false, false]);
    expect(results(again).map(result => result.duplicate)).toEqual([true, true, true]);
    expect(results(again).map(result => result.id)).toEqual(results(first).map(result => result.id));
  });
});

describe('ttl', () => {
  async function replayed(server: { ws(path: string): string }, since: string): Promise<unknown[]> {
    const client = await connect(server.ws(`/?room=public.a&since=${since}`));
    expect(await client.nextOf('subscribed')).toMatchObject({ recovered: true });
    client.send({ type: 'ping' });
    const events = [];
    for (let frame = await client.next(); frame.type !== 'pong'; frame = await client.next())
      events.push(frame.event);
    return events;
  }

  it('0 is for those who are there, and never replayed', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/?room=public.a'));
    const { id: since } = await client.nextOf('subscribed');
    expect(await server.notify({ room: 'public.a', event: 'live', ttl: 0 })).toMatchObject({
      connections: 1,
    });
    await server.notify({ room: 'public.a', event: 'kept' });
    expect(await client.next()).toMatchObject({ event: 'live' });
    expect(await client.next()).toMatchObject({ event: 'kept' });
    expect(await replayed(server, String(since))).toEqual(['kept']);
  });

  it('ends the replay of a notification when it has passed', async () => {
    let now = Date.now();
    const server = await startServer({}, { clock: clockOf(() => now) });
    const { id: since } = await server.notify({ room: 'public.a', event: 'first' });
    await server.notify({ room: 'public.a', event: 'short', ttl: 10 });
    await server.notify({ room: 'public.a', event: 'long' });
    now += 9_999;
    expect(await replayed(server, since)).toEqual(['short', 'long']);
    now += 1;
    expect(await replayed(server, since)).toEqual(['long']);
  });

  it('goes up to RETENTION_SECONDS', async () => {
    const server = await startServer({ RETENTION_SECONDS: '30' });
    await post(server, { room: 'a', event: 'e', ttl: 30 }).expect(200);
    const { detail } = expectProblem(
      await post(server, { room: 'a', event: 'e', ttl: 31 }),
      400,
      'invalid_notification',
    );
    expect(detail).toMatch(/0 to 30/);
  });
});
