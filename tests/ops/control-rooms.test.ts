import { describe, expect, it } from '@jest/globals';
import { token } from '../support/client.js';
import { control, enter } from '../support/control.js';
import { startServer, type TestServer } from '../support/server.js';

function put(server: TestServer, path: string) {
  return control(server, 'PUT', path);
}

function take(server: TestServer, path: string) {
  return control(server, 'DELETE', path);
}

describe('a room that a backend puts somebody into', () => {
  it('needs no token that allows it: its notifications come from now on', async () => {
    const server = await startServer();
    const client = await enter(server);
    await server.notify({ room: 'secret', event: 'before' });
    expect(await put(server, `/connections/${client.id}/rooms/secret`)).toEqual({ connections: 1 });
    const { id } = await server.notify({ room: 'secret', event: 'e', data: 1 });
    const subscribed = await client.next();
    expect(subscribed).toEqual({ type: 'subscribed', room: 'secret', id: expect.any(String) });
    expect(await client.next()).toEqual({
      type: 'notification',
      id,
      room: 'secret',
      event: 'e',
      data: 1,
    });
    await client.quiet();
    expect(await control(server, 'GET', '/rooms/secret')).toMatchObject({ connections: 1 });
  });

  it('is told with an id that is a cursor', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*' });
    const client = await enter(server);
    const before = await server.notify({ room: 'a', event: 'before' });
    await put(server, `/connections/${client.id}/rooms/a`);
    expect(await client.next()).toMatchObject({ type: 'subscribed', id: before.id });
  });

  it('is for all connections of a user, and for nobody else', async () => {
    const server = await startServer();
    const clients = [
      await enter(server, { claims: { sub: 'li' } }),
      await enter(server, { claims: { sub: 'li' } }),
    ];
    const others = [await enter(server, { claims: { sub: 'ada' } }), await enter(server)];
    expect(await put(server, '/users/li/rooms/a')).toEqual({ connections: 2 });
    for (const client of clients)
      expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'a' });
    expect(await take(server, '/users/li/rooms/a')).toEqual({ connections: 2 });
    for (const client of clients) {
      expect(await client.next()).toEqual({ type: 'unsubscribed', room: 'a' });
      await client.quiet();
    }
    for (const client of others) await client.quiet();
    expect(await server.notify({ room: 'a', event: 'e' })).toMatchObject({ connections: 0 });
    expect(await put(server, '/users/nobody/rooms/a')).toEqual({ connections: 0 });
    expect(await take(server, '/users/nobody/rooms/a')).toEqual({ connections: 0 });
  });

  it('is told once, also if it is asked for again; the answer is the same', async () => {
    const server = await startServer();
    const client = await enter(server, { rooms: ['public.a'] });
    const path = `/connections/${client.id}/rooms`;
    for (let time = 0; time < 3; time++) {
      expect(await put(server, `${path}/a`)).toEqual({ connections: 1 });
      // It is there already.
      expect(await put(server, `${path}/public.a`)).toEqual({ connections: 1 });
    }
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'a' });
    await client.quiet();
    for (let time = 0; time < 3; time++) expect(await take(server, `${path}/a`)).toEqual({ connections: 1 });
    expect(await client.next()).toEqual({ type: 'unsubscribed', room: 'a' });
    await client.quiet();
    // Nor is one told who never was there.
    expect(await take(server, `${path}/b`)).toEqual({ connections: 1 });
    await client.quiet();
  });

  it('stays through new tokens that do not allow it; other rooms do not', async () => {
    const server = await startServer();
    const claims = { sub: 'li', rooms: ['own', 'both'] };
    const client = await enter(server, { claims, rooms: ['own', 'both'] });
    await put(server, `/connections/${client.id}/rooms/given`);
    await client.nextOf('subscribed');
    // It was there by its token. Now it is there by the backend, too.
    await put(server, '/users/li/rooms/both');
    client.send({ type: 'token', token: token({ sub: 'li' }) });
    expect(await client.next()).toMatchObject({ type: 'token' });
    expect(await client.next()).toEqual({ type: 'unsubscribed', room: 'own' });
    await client.quiet();
    for (const [room, connections] of [
      ['own', 0],
      ['given', 1],
      ['both', 1],
    ])
      expect(await server.notify({ room, event: 'e' })).toMatchObject({ connections });
  });

  it('does not count for MAX_ROOMS_PER_CONNECTION', async () => {
    const server = await startServer({ MAX_ROOMS_PER_CONNECTION: '2' });
    const client = await enter(server, { rooms: ['public.a'] });
    for (const room of ['x', 'y', 'z']) {
      await put(server, `/connections/${client.id}/rooms/${room}`);
      await client.nextOf('subscribed');
    }
    client.send({ type: 'subscribe', room: 'public.b' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'public.b' });
    client.send({ type: 'subscribe', room: 'public.c' });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'too_many_rooms' });
    // A room of its own that the backend gives it too makes room for one more.
    await put(server, `/connections/${client.id}/rooms/public.a`);
    client.send({ type: 'subscribe', room: 'public.c' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'public.c' });
    // One that is taken away does not count any more, in either direction.
    await take(server, `/connections/${client.id}/rooms/x`);
    expect(await client.next()).toEqual({ type: 'unsubscribed', room: 'x' });
    client.send({ type: 'subscribe', room: 'public.d' });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'too_many_rooms' });
    expect(await put(server, `/connections/${client.id}/rooms/more`)).toEqual({ connections: 1 });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'more' });
  });

  it('may be subscribed to again, with its past, as long as it is there', async () => {
    const server = await startServer();
    const client = await enter(server);
    const { id } = await control(server, 'GET', '/newest');
    const missed = await server.notify({ room: 'secret', event: 'e' });
    await put(server, `/connections/${client.id}/rooms/secret`);
    await client.nextOf('subscribed');
    client.send({ type: 'subscribe', room: 'secret', since: String(id), ref: 1 });
    expect(await client.next()).toMatchObject({
      type: 'subscribed',
      room: 'secret',
      recovered: true,
      ref: 1,
    });
    expect(await client.next()).toMatchObject({ type: 'notification', id: missed.id });
  });

  it('may be left by the client, which cannot come back unless its token allows it', async () => {
    const server = await startServer();
    const client = await enter(server);
    for (const room of ['secret', 'public.a']) {
      await put(server, `/connections/${client.id}/rooms/${room}`);
      await client.nextOf('subscribed');
      client.send({ type: 'unsubscribe', room, ref: 1 });
      expect(await client.next()).toEqual({ type: 'unsubscribed', room, ref: 1 });
      expect(await server.notify({ room, event: 'e' })).toMatchObject({ connections: 0 });
    }
    client.send({ type: 'subscribe', room: 'secret', ref: 2 });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'forbidden', room: 'secret', ref: 2 });
    client.send({ type: 'subscribe', room: 'public.a', ref: 3 });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'public.a' });
    // The backend may put it there again.
    await put(server, `/connections/${client.id}/rooms/secret`);
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'secret' });
  });

  it("that is taken away is no longer the client's, also if its token allows it", async () => {
    const server = await startServer();
    const client = await enter(server, { rooms: ['public.a'] });
    expect(await take(server, `/connections/${client.id}/rooms/public.a`)).toEqual({ connections: 1 });
    expect(await client.next()).toEqual({ type: 'unsubscribed', room: 'public.a' });
    expect(await server.notify({ room: 'public.a', event: 'e' })).toMatchObject({ connections: 0 });
    client.send({ type: 'subscribe', room: 'public.a' });
    expect(await client.next()).toMatchObject({ type: 'subscribed' });
  });

  it('ends with the connection', async () => {
    const server = await startServer();
    const client = await enter(server, { claims: { sub: 'li' } });
    await put(server, '/users/li/rooms/secret');
    await client.nextOf('subscribed');
    await control(server, 'DELETE', `/connections/${client.id}`);
    await client.closed;
    expect(await control(server, 'GET', '/rooms')).toEqual({ rooms: [], next: null });
    const back = await enter(server, { claims: { sub: 'li' } });
    expect(await server.notify({ room: 'secret', event: 'e' })).toMatchObject({ connections: 0 });
    await back.quiet();
  });

  it('shows its members if it is a presence room, and the others see who came and left', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*', PRESENCE_GRACE_SECONDS: '0' });
    const room = 'presence.a';
    const there = await enter(server, { claims: { sub: 'ada', info: { n: 1 } }, rooms: [room] });
    const client = await enter(server, { claims: { sub: 'li', info: { n: 2 } } });
    const anonymous = await enter(server);
    await put(server, `/users/li/rooms/${room}`);
    const members = [
      { user: 'ada', info: { n: 1 } },
      { user: 'li', info: { n: 2 } },
    ];
    expect(await client.next()).toMatchObject({ type: 'subscribed', room, members });
    expect(await there.next()).toEqual({ type: 'joined', room, user: 'li', info: { n: 2 } });
    // Without a user it is no member, and sees none.
    await put(server, `/connections/${anonymous.id}/rooms/${room}`);
    expect(await anonymous.next()).toEqual({ type: 'subscribed', room, id: expect.any(String) });
    await take(server, `/users/li/rooms/${room}`);
    expect(await client.next()).toEqual({ type: 'unsubscribed', room });
    expect(await there.next()).toEqual({ type: 'left', room, user: 'li' });
    await there.quiet();
    await client.quiet();
  });
});
