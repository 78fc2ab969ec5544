import { describe, expect, it } from '@jest/globals';
import { connect, type TestClient, token } from '../support/client.js';
import { clockOf } from '../support/clock.js';
import { call, control, enter } from '../support/control.js';
import { expectProblem } from '../support/notify.js';
import { startServer, type TestServer } from '../support/server.js';

const REMOVED = { code: 4503, reason: 'removed by an operator' };
const INVALID = { code: 4501 };

function remove(server: TestServer, path: string) {
  return control(server, 'DELETE', path);
}

function revoke(server: TestServer, user: string) {
  return control(server, 'POST', `/users/${encodeURIComponent(user)}/revoke`);
}

describe('an operator', () => {
  it('shows one connection out, with 4503', async () => {
    const server = await startServer();
    const claims = { sub: 'alice' };
    const [gone, stays] = [await enter(server, { claims }), await enter(server, { claims })];
    expect(await remove(server, `/connections/${gone.id}`)).toEqual({ removed: 1 });
    expect(await gone.closed).toEqual(REMOVED);
    await stays.quiet();
    expect(await remove(server, `/connections/${gone.id}`)).toEqual({ removed: 0 });
    expect(await server.notify({ user: 'alice', event: 'e' })).toMatchObject({ connections: 1 });
  });

  it('shows all connections of a user out, who may come back', async () => {
    const server = await startServer();
    const claims = { sub: 'org/7 ä@x' };
    const gone = [await enter(server, { claims }), await enter(server, { claims })];
    const stays = [await enter(server, { claims: { sub: 'org' } }), await enter(server)];
    const path = `/users/${encodeURIComponent(claims.sub)}/connections`;
    expect(await remove(server, path)).toEqual({ removed: 2 });
    for (const client of gone) expect(await client.closed).toEqual(REMOVED);
    for (const client of stays) await client.quiet();
    await enter(server, { claims });
    expect(await remove(server, '/users/nobody/connections')).toEqual({ removed: 0 });
  });

  it('shows all connections in a room out', async () => {
    const server = await startServer();
    const gone = [
      await enter(server, { rooms: ['public.a/b', 'public.c'] }),
      await enter(server, { claims: { sub: 'li' }, rooms: ['public.a/b'] }),
    ];
    const stays = await enter(server, { rooms: ['public.a', 'public.c'] });
    expect(await remove(server, '/rooms/public.a%2Fb/connections')).toEqual({ removed: 2 });
    for (const client of gone) expect(await client.closed).toEqual(REMOVED);
    await stays.quiet();
    expect(await remove(server, '/rooms/public.a%2Fb/connections')).toEqual({ removed: 0 });
  });

  it('lets arrive what was sent before the removal', async () => {
    const server = await startServer();
    const client = await enter(server);
    await server.notify({ connection: client.id, event: 'last' });
    await remove(server, `/connections/${client.id}`);
    expect(await client.next()).toMatchObject({ event: 'last' });
    expect(await client.closed).toEqual(REMOVED);
  });
});

describe('a user whose tokens are revoked', () => {
  const START = 1_800_000_000;

  /** A server at a moment of its own. */
  async function at(second: number, settings: Record<string, string> = {}) {
    let now = second * 1000;
    const server = await startServer(settings, { clock: clockOf(() => now) });
    const wait = (seconds: number) => {
      now += seconds * 1000;
    };
    return { server, wait };
  }

  function tokenOf(iat: number, claims: object = {}): string {
    return token({ sub: 'li', iat, exp: iat + 3600, ...claims });
  }

  async function open(server: TestServer, text?: string): Promise<TestClient> {
    const client = await connect(server.ws(text === undefined ? '/' : `/?token=${text}`));
    return client;
  }

  async function expectRefused(client: TestClient): Promise<void> {
    expect(await client.nextOf('error')).toMatchObject({
      code: 'invalid_token',
      message: expect.stringMatching(/revoked/),
    });
    expect(await client.closed).toMatchObject(INVALID);
  }

  it('is shown out, and refused with the old tokens, until there is a new one', async () => {
    const { server, wait } = await at(START);
    const old = tokenOf(START);
    const withoutIat = token({ sub: 'li', exp: START + 3600 }, { noTimestamp: true });
    const clients = [await open(server, old), await open(server, old), await open(server, withoutIat)];
    for (const client of clients) await client.nextOf('welcome');
    const other = await open(server, tokenOf(START, { sub: 'ada' }));
    await other.nextOf('welcome');
    wait(1);
    expect(await revoke(server, 'li')).toEqual({ removed: 3 });
    for (const client of clients) expect(await client.closed).toEqual(REMOVED);
    await other.quiet();
    await expectRefused(await open(server, old));
    await expectRefused(await open(server, withoutIat));
    // Of the second in which they were revoked.
    const fresh = await open(server, tokenOf(START + 1));
    expect(await fresh.next()).toMatchObject({ type: 'welcome', user: 'li' });
    await (await open(server, tokenOf(START, { sub: 'ada' }))).nextOf('welcome');
  });

  it('is refused with an old token on an open connection without a user, too', async () => {
    const { server, wait } = await at(START);
    const client = await open(server);
    await client.nextOf('welcome');
    wait(5);
    expect(await revoke(server, 'li')).toEqual({ removed: 0 });
    client.send({ type: 'token', token: tokenOf(START), ref: 1 });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'invalid_token', ref: 1 });
    expect(await client.closed).toMatchObject(INVALID);
    const again = await open(server);
    await again.nextOf('welcome');
    again.send({ type: 'token', token: tokenOf(START + 5), ref: 2 });
    expect(await again.next()).toMatchObject({ type: 'token', ref: 2 });
  });

  it('is refused with an old token on an open connection of the user, which has come with a new one', async () => {
    const { server, wait } = await at(START);
    wait(5);
    await revoke(server, 'li');
    const client = await open(server, tokenOf(START + 5));
    await client.nextOf('welcome');
    client.send({ type: 'token', token: tokenOf(START) });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'invalid_token' });
    expect(await client.closed).toMatchObject(INVALID);
  });

  it('may be any user, also one who was never there', async () => {
    const { server, wait } = await at(START);
    wait(1);
    for (const user of ['a/b', '😀'.repeat(200), '__proto__', 'li li']) {
      expect(await revoke(server, user)).toEqual({ removed: 0 });
      await expectRefused(await open(server, tokenOf(START, { sub: user })));
    }
    await (await open(server, tokenOf(START, { sub: 'li' }))).nextOf('welcome');
  });

  it('needs no body, and no content type', async () => {
    const { server } = await at(START);
    expect(await control(server, 'POST', '/users/li/revoke', { body: {} })).toEqual({ removed: 0 });
    const headers = { 'content-type': 'text/plain' };
    expect(await control(server, 'POST', '/users/li/revoke', { body: 'x', headers })).toEqual({ removed: 0 });
    expectProblem(await call(server, 'GET', '/users/li/revoke'), 405, 'method_not_allowed');
  });

  it('may have tokens of MAX_TOKEN_SECONDS and no longer: so long a revocation is kept', async () => {
    const { server } = await at(START, { MAX_TOKEN_SECONDS: '60' });
    await (await open(server, tokenOf(START, { exp: START + 60 }))).nextOf('welcome');
    const long = await open(server, tokenOf(START, { exp: START + 61 }));
    expect(await long.next()).toMatchObject({
      code: 'invalid_token',
      message: expect.stringMatching(/more than 60 seconds \(MAX_TOKEN_SECONDS\); give it an earlier exp/),
    });
    expect(await long.closed).toMatchObject(INVALID);
  });
});
