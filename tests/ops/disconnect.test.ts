import { describe, expect, it } from '@jest/globals';
import request, { type Test } from 'supertest';
import { connect, type TestClient, token } from '../support/client.js';
import { expectProblem } from '../support/notify.js';
import { KEY, startServer, type TestServer } from '../support/server.js';

function remove(server: { url: string }, path: string): Test {
  return request(server.url).delete(path).set('authorization', `Bearer ${KEY}`);
}

async function enter(server: TestServer, sub?: string): Promise<TestClient & { id: string }> {
  const client = await connect(server.ws(sub === undefined ? '/' : `/?token=${token({ sub })}`));
  return Object.assign(client, { id: String((await client.next()).connection) });
}

const REMOVED = { code: 4503, reason: 'removed by an operator' };

describe('an operator', () => {
  it('shows one connection out, with 4503', async () => {
    const server = await startServer();
    const [gone, stays] = [await enter(server, 'alice'), await enter(server, 'alice')];
    const response = await remove(server, `/connections/${gone.id}`);
    expect(response.status).toBe(200);
    expect(response.body).toEqual({ removed: 1 });
    expect(await gone.closed).toEqual(REMOVED);
    await stays.quiet();
    expect((await remove(server, `/connections/${gone.id}`)).body).toEqual({ removed: 0 });
    expect(await server.notify({ user: 'alice', event: 'e' })).toMatchObject({ connections: 1 });
  });

  it('shows all connections of a user out, with 4503', async () => {
    const server = await startServer();
    const user = 'org/7 ä@x';
    const gone = [await enter(server, user), await enter(server, user)];
    const stays = [await enter(server, 'org'), await enter(server)];
    const response = await remove(server, `/users/${encodeURIComponent(user)}/connections`);
    expect(response.body).toEqual({ removed: 2 });
    for (const client of gone) expect(await client.closed).toEqual(REMOVED);
    for (const client of stays) await client.quiet();
  });

  it('is told when nobody was there', async () => {
    const server = await startServer();
    for (const path of ['/connections/1.1', '/connections/everyone', '/users/nobody/connections'])
      expect((await remove(server, path)).body).toEqual({ removed: 0 });
  });

  it('what was sent before the removal still arrives', async () => {
    const server = await startServer();
    const client = await enter(server);
    await server.notify({ connection: client.id, event: 'last' });
    await remove(server, `/connections/${client.id}`).expect(200);
    expect(await client.next()).toMatchObject({ event: 'last' });
    expect(await client.closed).toEqual(REMOVED);
  });

  it.each(['/connections/%', '/users/%/connections'])('needs a key for %s', async template => {
    const server = await startServer();
    const client = await enter(server, 'alice');
    const path = template.replace('%', template.startsWith('/users') ? 'alice' : client.id);
    for (const authorization of ['', 'Bearer wrong']) {
      const response = await request(server.url).delete(path).set('authorization', authorization);
      expectProblem(response, 401, 'unauthorized');
      expect(response.headers['www-authenticate']).toMatch(/^Bearer\b/);
    }
    await client.quiet();
  });

  it.each(['/connections/1.1', '/users/alice/connections'])('can only DELETE at %s', async path => {
    const server = await startServer();
    for (const method of ['get', 'post'] as const) {
      const response = await request(server.url)[method](path).set('authorization', `Bearer ${KEY}`);
      expectProblem(response, 405, 'method_not_allowed');
      expect(response.headers.allow).toBe('DELETE');
    }
  });
});
