import { describe, expect, it } from '@jest/globals';
import jwt from 'jsonwebtoken';
import { connect, token } from '../support/client.js';
import { JWT_SECRET, startServer, type TestServer } from '../support/server.js';
import { RawClient, tcp, upgradeRequest } from './raw.js';

const seconds = () => Math.floor(Date.now() / 1000);

/** Checks that no part of a token was logged, neither its signature nor its payload. */
function expectNotLogged(server: TestServer, ...tokens: string[]): void {
  const log = JSON.stringify(server.logged);
  for (const text of tokens)
    for (const part of text
      .split('.')
      .slice(1)
      .filter(part => part !== ''))
      expect(log).not.toContain(part);
}

describe('ways to bring a token', () => {
  const claims = { sub: 'ann', rooms: ['orders.*'] };

  it.each([
    ['query', (server: TestServer, text: string) => connect(server.ws(`/?token=${text}&room=orders.1`))],
    [
      'header',
      (server: TestServer, text: string) =>
        connect(server.ws('/?room=orders.1'), [], { headers: { authorization: `Bearer ${text}` } }),
    ],
    [
      'header, in small letters',
      (server: TestServer, text: string) =>
        connect(server.ws('/?room=orders.1'), [], { headers: { authorization: `bearer ${text}` } }),
    ],
    [
      'subprotocol',
      (server: TestServer, text: string) =>
        connect(server.ws('/?room=orders.1'), ['postroom.v1', `bearer.${text}`]),
    ],
    [
      'subprotocol, the other way round',
      (server: TestServer, text: string) =>
        connect(server.ws('/?room=orders.1'), [`bearer.${text}`, 'postroom.v1']),
    ],
  ])('%s', async (way, open) => {
    const server = await startServer();
    const text = token(claims);
    const client = await open(server, text);
    expect(client.socket.protocol).toBe(way.startsWith('subprotocol') ? 'postroom.v1' : '');
    expect(await client.next()).toMatchObject({ type: 'welcome', user: 'ann' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'orders.1' });
    await server.notify({ user: 'ann', event: 'e' });
    expect(await client.next()).toMatchObject({ type: 'notification', event: 'e' });
    expectNotLogged(server, text);
  });

  it('token frame', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    expect(await client.next()).toMatchObject({ user: null });
    const exp = seconds() + 100;
    const text = token({ ...claims, exp });
    client.send({ type: 'token', token: text });
    expect(await client.next()).toEqual({ type: 'token', expires: exp });
    client.send({ type: 'subscribe', room: 'orders.1' });
    expect(await client.next()).toMatchObject({ type: 'subscribed' });
    expect((await server.notify({ user: 'ann', event: 'e' })).connections).toBe(1);
    expect(await client.next()).toMatchObject({ type: 'notification', event: 'e' });
    expectNotLogged(server, text);
  });

  it('answers no subprotocol that was not offered, and none that carries a token', async () => {
    const server = await startServer();
    const client = new RawClient(await tcp(server.url));
    client.socket.write(upgradeRequest('/', { 'Sec-WebSocket-Protocol': `chat, bearer.${token({})}` }));
    const head = await client.head();
    expect(head).toMatch(/^HTTP\/1.1 101/);
    expect(head.toLowerCase()).not.toContain('sec-websocket-protocol');
  });
});

describe('what a token allows', () => {
  it.each([
    [['orders.*'], 'orders.1', true],
    [['orders.*'], 'orders.', true],
    [['orders.*'], 'orders', false],
    [['orders.*'], 'xorders.1', false],
    [['*.read'], 'a.b.read', true],
    [['*.read'], 'a.b.write', false],
    [['a*c*e'], 'abcde', true],
    [['a*c*e'], 'abde', false],
    [['*'], 'anything', true],
    [['exact', 'other'], 'other', true],
    [['exact'], 'exactly', false],
    [['ex.ct'], 'exact', false],
    [[], 'orders', false],
    [undefined, 'orders', false],
    [[], 'public.a', true],
  ])('rooms %j: %s %s', async (rooms, room, allowed) => {
    const server = await startServer();
    const client = await connect(server.ws(`/?token=${token({ sub: 1, rooms })}&room=${room}`));
    await client.next();
    expect(await client.next()).toMatchObject(
      allowed ? { type: 'subscribed', room } : { type: 'error', code: 'forbidden', room },
    );
    expect((await server.notify({ room, event: 'e' })).connections).toBe(allowed ? 1 : 0);
  });

  it.each([
    [undefined, 'public.a', true],
    [undefined, 'news.a', false],
    ['news.*,chat', 'news.a', true],
    ['news.*,chat', 'chat', true],
    ['news.*,chat', 'public.a', false],
  ])('PUBLIC_ROOMS %s: without a token %s %s', async (pattern, room, allowed) => {
    const server = await startServer(pattern === undefined ? {} : { PUBLIC_ROOMS: pattern });
    const client = await connect(server.ws(`/?room=${room}`));
    await client.next();
    expect(await client.next()).toMatchObject(
      allowed ? { type: 'subscribed' } : { type: 'error', code: 'forbidden' },
    );
  });
});

describe('a token that does not hold', () => {
  const now = seconds();
  it.each([
    ['nonsense', 'nonsense', 4501],
    ['an empty one', '', 4501],
    ['of another key', token({}, {}, 'another-secret-of-32-bytes-or-more'), 4501],
    ['unsigned', token({}, { algorithm: 'none' }, ''), 4501],
    ['without exp', jwt.sign({ sub: 1 }, JWT_SECRET), 4501],
    ['not valid yet', token({ nbf: now + 100 }), 4501],
    ['with rooms that are no list', token({ rooms: 'orders' }), 4501],
    ['expired', token({ exp: now - 31 }), 4401],
  ])('%s is let in and then closed', async (_name, text, code) => {
    const server = await startServer();
    const client = await connect(server.ws(`/?token=${text}&room=public.a`));
    expect(await client.next()).toMatchObject({ type: 'error', code: 'invalid_token' });
    expect(await client.closed).toMatchObject({ code });
    expect((await server.notify({ everyone: true, event: 'e' })).connections).toBe(0);
    if (text.length > 20) expectNotLogged(server, text);
  });

  it.each([
    ['nonsense', 'nonsense', 4501],
    ['expired', token({ exp: now - 31 }), 4401],
  ])('%s in a frame closes too', async (_name, text, code) => {
    const server = await startServer();
    const client = await connect(server.ws(`/?token=${token({ sub: 1 })}`));
    await client.next();
    client.send({ type: 'token', token: text, ref: 'r' });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'invalid_token', ref: 'r' });
    expect(await client.closed).toMatchObject({ code });
  });

  it('takes the previous secret while rotating', async () => {
    const previous = 'a-previous-secret-of-32-bytes-or-more';
    const server = await startServer({ JWT_PREVIOUS_SECRET: previous });
    const client = await connect(server.ws(`/?token=${token({ sub: 7 }, {}, previous)}`));
    expect(await client.next()).toMatchObject({ type: 'welcome', user: '7' });
  });
});

describe('the end of a token', () => {
  // With the tolerance of 30 seconds, two more are left.
  const soon = (server: TestServer) => Math.floor(server.now() / 1000) - 28;

  it('closes the connection with 4401 when it comes, not before', async () => {
    const server = await startServer({}, { still: true });
    const exp = soon(server);
    const client = await connect(server.ws(`/?token=${token({ sub: 1, exp })}`));
    expect(await client.next()).toMatchObject({ type: 'welcome', user: '1' });
    await client.quiet();
    server.pass(1);
    await client.quiet();
    server.pass(1);
    expect(await client.closed).toMatchObject({ code: 4401 });
    expect(server.now() / 1000).toBeGreaterThanOrEqual(exp + 30);
  });

  it('is put off by a token frame', async () => {
    const server = await startServer({}, { still: true });
    const url = server.ws(`/?token=${token({ sub: 1, exp: soon(server) })}`);
    const prolonged = await connect(url);
    const left = await connect(url);
    prolonged.send({ type: 'token', token: token({ sub: 1 }) });
    expect(await prolonged.nextOf('token')).toMatchObject({ expires: expect.any(Number) });
    server.pass(2);
    expect(await left.closed).toMatchObject({ code: 4401 });
    // One more round of the timers, after the round in which it would have been closed.
    server.pass(1);
    await prolonged.quiet();
  });

  it('comes sooner when a token frame says so', async () => {
    const server = await startServer({}, { still: true });
    const client = await connect(server.ws(`/?token=${token({ sub: 1 })}`));
    client.send({ type: 'token', token: token({ sub: 1, exp: soon(server) }) });
    await client.nextOf('token');
    server.pass(1);
    await client.quiet();
    server.pass(1);
    expect(await client.closed).toMatchObject({ code: 4401 });
  });
});

describe('a token frame', () => {
  it('takes away the rooms that the new token does not allow', async () => {
    const server = await startServer();
    const text = token({ sub: 1, rooms: ['a', 'b'] });
    const client = await connect(server.ws(`/?rooms=a,b,public.c&token=${text}`));
    for (let frames = 0; frames < 4; frames++) await client.next();
    client.send({ type: 'token', token: token({ sub: 1, rooms: ['b', 'd'] }), ref: 9 });
    expect(await client.next()).toMatchObject({ type: 'token', ref: 9 });
    expect(await client.next()).toEqual({ type: 'unsubscribed', room: 'a' });
    await client.quiet();
    expect((await server.notify({ room: 'a', event: 'e' })).connections).toBe(0);
    expect((await server.notify({ room: 'b', event: 'e' })).connections).toBe(1);
    expect((await server.notify({ room: 'public.c', event: 'e' })).connections).toBe(1);
    expect(await client.next()).toMatchObject({ room: 'b' });
    expect(await client.next()).toMatchObject({ room: 'public.c' });
    client.send({ type: 'subscribe', room: 'a' });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'forbidden' });
  });

  it.each([{ sub: 'bob' }, {}])('for another user (%j) is refused, and nothing changes', async claims => {
    const server = await startServer();
    const client = await connect(server.ws(`/?token=${token({ sub: 'ann', rooms: ['a'] })}&room=a`));
    await client.nextOf('subscribed');
    client.send({ type: 'token', token: token({ ...claims, rooms: [] }), ref: 1 });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'forbidden', ref: 1 });
    expect((await server.notify({ user: 'bob', event: 'e' })).connections).toBe(0);
    expect((await server.notify({ user: 'ann', event: 'e' })).connections).toBe(1);
    expect((await server.notify({ room: 'a', event: 'e' })).connections).toBe(1);
  });
});
