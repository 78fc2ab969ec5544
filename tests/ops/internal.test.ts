import { describe, expect, it } from '@jest/globals';
import request from 'supertest';
import { connect } from '../support/client.js';
import { expectProblem, post } from '../support/notify.js';
import { KEY, startServer, type TestServer } from '../support/server.js';

const BODY = { room: 'public.a', event: 'e' };
const WITH_KEY = { authorization: `Bearer ${KEY}` };

function internal(server: TestServer): { url: string } {
  if (server.internalUrl === undefined) throw new Error('there is no internal side');
  return { url: server.internalUrl };
}

async function knowsDetails({ url }: { url: string }): Promise<boolean> {
  const { body } = await request(url).get('/health').set(WITH_KEY).expect(200);
  return 'journal' in body;
}

describe('without INTERNAL_PORT', () => {
  it('all is served in one place', async () => {
    const server = await startServer();
    expect(server.internalUrl).toBeUndefined();
    await post(server, BODY).expect(200);
    expect(await knowsDetails(server)).toBe(true);
  });
});

describe('with INTERNAL_PORT', () => {
  it('backends are served in both places, and reach the same clients', async () => {
    const server = await startServer({ INTERNAL_PORT: '0' });
    expect(server.internalUrl).not.toBe(server.url);
    const client = await connect(server.ws('/?room=public.a'));
    await client.nextOf('subscribed');
    for (const side of [server, internal(server)]) {
      const { body } = await post(side, BODY);
      expect(body).toMatchObject({ connections: 1 });
      expect(await client.next()).toMatchObject({ id: body.id });
      expect(await knowsDetails(side)).toBe(true);
      await request(side.url).delete('/connections/1.1').set(WITH_KEY).expect(200);
    }
  });

  it('the internal side needs the key too', async () => {
    const side = internal(await startServer({ INTERNAL_PORT: '0' }));
    expectProblem(await post(side, BODY, { authorization: '' }), 401, 'unauthorized');
    expect((await request(side.url).get('/health')).body).toEqual({ status: 'ok' });
  });

  it('the internal side has neither the page nor WebSockets', async () => {
    const server = await startServer({ INTERNAL_PORT: '0' });
    const { url } = internal(server);
    expectProblem(await request(url).get('/'), 404, 'not_found');
    await expect(connect(url.replace('http', 'ws'))).rejects.toThrow(/404/);
    await request(server.url).get('/').expect(200);
  });

  it('a repeated key is one on both sides', async () => {
    const server = await startServer({ INTERNAL_PORT: '0' });
    const first = await post(server, { ...BODY, key: 'k' });
    const again = await post(internal(server), { ...BODY, key: 'k' });
    expect(again.body).toMatchObject({ id: first.body.id, duplicate: true });
  });
});

describe('with INTERNAL_ONLY', () => {
  const settings = { INTERNAL_PORT: '0', INTERNAL_ONLY: 'true' };

  it('backends and operators are served on the internal side alone', async () => {
    const server = await startServer(settings);
    await post(internal(server), BODY).expect(200);
    await request(internal(server).url).delete('/connections/1.1').set(WITH_KEY).expect(200);
    expect(await knowsDetails(internal(server))).toBe(true);
    expectProblem(await post(server, BODY), 404, 'not_found');
    for (const path of ['/connections/1.1', '/users/alice/connections'])
      expectProblem(await request(server.url).delete(path).set(WITH_KEY), 404, 'not_found');
    expect(await knowsDetails(server)).toBe(false);
  });

  it('the front tells no caller whether a key is right', async () => {
    const server = await startServer(settings);
    const [right, wrong] = [
      await post(server, BODY),
      await post(server, BODY, { authorization: 'Bearer wrong' }),
    ];
    expect(wrong.status).toBe(right.status);
    expect(wrong.body).toEqual(right.body);
  });

  it('clients and load balancers are served in front', async () => {
    const server = await startServer(settings);
    const client = await connect(server.ws('/?room=public.a'));
    await client.nextOf('subscribed');
    for (const path of ['/health', '/health/live', '/health/ready'])
      await request(server.url).get(path).expect(200);
    expect(await server.notify(BODY)).toMatchObject({ connections: 1 });
    expect(await client.next()).toMatchObject({ event: 'e' });
  });
});
