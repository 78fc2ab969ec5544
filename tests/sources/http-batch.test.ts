import { describe, expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { expectProblem, post } from '../support/notify.js';
import { startServer } from '../support/server.js';

const MIB = 1024 * 1024;

describe('a batch', () => {
  it('is answered in order, one result each, with 200 when all went', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/?room=public.a'));
    await client.nextOf('subscribed');
    const batch = Array.from({ length: 20 }, (_, data) => ({
      room: data % 2 === 0 ? 'public.a' : 'public.b',
      event: 'e',
      data,
    }));
    const response = await post(server, batch);
    expect(response.status).toBe(200);
    expect(response.headers['content-type']).toMatch(/^application\/json(;|$)/);
    const { results } = response.body;
    expect(Object.keys(response.body)).toEqual(['results']);
    expect(results.map((result: { connections: number }) => result.connections)).toEqual(
      batch.map(({ data }) => (data % 2 === 0 ? 1 : 0)),
    );
    for (let data = 0; data < 20; data += 2)
      expect(await client.next()).toMatchObject({ data, id: results[data].id });
    await client.quiet();
  });

  it('with faults is answered with 207, and what has none goes all the same', async () => {
    const server = await startServer({ MAX_NOTIFICATION_BYTES: '200' });
    const client = await connect(server.ws('/?room=public.a'));
    await client.nextOf('subscribed');
    const response = await post(server, [
      { room: 'public.a', event: 'first' },
      { room: 'public.a', evnt: 'x' },
      null,
      [{ room: 'public.a', event: 'nested' }],
      { rooms: ['public.a', ' '], event: 'x' },
      { event: 'nobody' },
      { room: 'public.a', event: 'large', data: 'x'.repeat(200) },
      { room: 'public.a', event: 'last' },
    ]);
    expect(response.status).toBe(207);
    expect(response.headers['content-type']).toMatch(/^application\/json(;|$)/);
    const { results } = response.body;
    expect(results).toHaveLength(8);
    expect(results[0]).toMatchObject({ connections: 1, duplicate: false });
    expect(results[7]).toMatchObject({ connections: 1, duplicate: false });
    const paths = results
      .slice(1, 6)
      .map((result: { error: { errors: { path: string }[] } }) =>
        result.error.errors.map(({ path }) => path),
      );
    expect(paths).toEqual([
      expect.arrayContaining(['[1].evnt', '[1].event']),
      ['[2]'],
      ['[3]'],
      ['[4].rooms[1]'],
      ['[5]'],
    ]);
    expect(results[1]).toEqual({
      error: {
        type: expect.any(String),
        title: expect.any(String),
        status: 400,
        code: 'invalid_notification',
        detail: expect.any(String),
        errors: expect.any(Array),
      },
    });
    expect(results[6].error).toMatchObject({ status: 413, code: 'payload_too_large' });
    expect(await client.next()).toMatchObject({ event: 'first' });
    expect(await client.next()).toMatchObject({ event: 'last' });
    await client.quiet();
  });

  it('may be empty', async () => {
    const server = await startServer();
    const response = await post(server, []);
    expect(response.status).toBe(200);
    expect(response.body).toEqual({ results: [] });
  });

  it('has 1,000 items at most', async () => {
    const server = await startServer();
    const batch = Array.from({ length: 1000 }, (_, data) => ({ room: 'public.a', event: 'e', data }));
    const full = await post(server, batch);
    expect(full.status).toBe(200);
    expect(full.body.results).toHaveLength(1000);
    expect(new Set(full.body.results.map((result: { id: string }) => result.id)).size).toBe(1000);
    const client = await connect(server.ws('/?room=public.a'));
    await client.nextOf('subscribed');
    const response = await post(server, [...batch, { room: 'public.a', event: 'e' }]);
    const { detail } = expectProblem(response, 400, 'invalid_notification');
    expect(detail).toMatch(/at most 1000/);
    await client.quiet();
  });

  it('weighs 8 MiB at most', async () => {
    const server = await startServer();
    const batch = '[{"room":"a","event":"e"}';
    const full = `${batch}${' '.repeat(8 * MIB - batch.length - 1)}]`;
    await post(server, full).expect(200);
    const { detail } = expectProblem(await post(server, `${full} `), 413, 'payload_too_large');
    expect(detail).toContain(String(8 * MIB + 1));
    expect(detail).toContain(String(8 * MIB));
  });

  it('weighs at most 1,000 times MAX_NOTIFICATION_BYTES where that is less', async () => {
    const server = await startServer({ MAX_NOTIFICATION_BYTES: '100' });
    const batch = '[{"room":"a","event":"e"}';
    const full = `${batch}${' '.repeat(100_000 - batch.length - 1)}]`;
    await post(server, full).expect(200);
    expectProblem(await post(server, `${full} `), 413, 'payload_too_large');
  });

  it('of one object that is too large is refused as such, bytes not characters counted', async () => {
    const server = await startServer({ MAX_NOTIFICATION_BYTES: '100' });
    const body = (text: string) => `{"room":"a","event":"e","data":"${text}"}`;
    const room = 100 - body('').length;
    await post(server, body('x'.repeat(room))).expect(200);
    await post(server, body('付'.repeat(Math.floor(room / 3)))).expect(200);
    const large = await post(server, body('x'.repeat(room + 1)));
    const { detail } = expectProblem(large, 413, 'payload_too_large');
    expect(detail).toMatch(/101.*100/);
    expectProblem(await post(server, body('付'.repeat(Math.floor(room / 3) + 1))), 413, 'payload_too_large');
  });
});
