import { describe, expect, it } from '@jest/globals';
import { connect, token } from '../support/client.js';
import { startServer } from '../support/server.js';

const CURSOR = /^\d+-\d+$/;

describe('welcome', () => {
  it.each(['/', '/ws', '/?', '/ws?x=1'])('greets at %s', async path => {
    const server = await startServer({ PING_SECONDS: '7' });
    const client = await connect(server.ws(path));
    expect(await client.next()).toEqual({
      type: 'welcome',
      connection: expect.stringMatching(/^\d+\.\d+$/),
      user: null,
      id: expect.stringMatching(CURSOR),
      ping: 7,
    });
  });

  it('names the user and gives each connection an id of its own', async () => {
    const server = await startServer();
    const url = server.ws(`/?token=${token({ sub: 42 })}`);
    const [one, other] = [await (await connect(url)).next(), await (await connect(url)).next()];
    expect(one.user).toBe('42');
    expect(one.connection).not.toBe(other.connection);
  });

  it('tells the id of the newest notification as the cursor', async () => {
    const server = await startServer();
    const { id } = await server.notify({ room: 'public.a', event: 'e' });
    const client = await connect(server.ws('/?room=public.b'));
    expect(await client.next()).toMatchObject({ id });
    expect(await client.next()).toEqual({ type: 'subscribed', room: 'public.b', id });
  });
});

describe('rooms in the address', () => {
  it.each([
    ['room=public.a&room=public.b', ['public.a', 'public.b']],
    ['rooms=public.a,public.b', ['public.a', 'public.b']],
    ['room=public.a&rooms=public.b,public.c', ['public.a', 'public.b', 'public.c']],
    ['room=public.a&room=public.a&rooms=public.a,public.a', ['public.a']],
    ['rooms=,public.a,,&room=', ['public.a']],
    [`room=${encodeURIComponent('public.房间')}`, ['public.房间']],
  ])('%s', async (query, rooms) => {
    const server = await startServer();
    const client = await connect(server.ws(`/ws?${query}`));
    await client.next();
    for (const room of rooms)
      expect(await client.next()).toEqual({ type: 'subscribed', room, id: expect.stringMatching(CURSOR) });
    await client.quiet();
    const { connections } = await server.notify({ rooms, event: 'e' });
    expect(connections).toBe(1);
    expect(await client.next()).toMatchObject({ type: 'notification', room: rooms[0] });
    await client.quiet();
  });

  it('joins those that may be joined and says why the others may not', async () => {
    const server = await startServer({ MAX_ROOMS_PER_CONNECTION: '2' });
    const client = await connect(
      server.ws('/?room=secret&room=public.a&room=no%20name&room=public.b&room=public.c'),
    );
    await client.next();
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'public.a' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'public.b' });
    const errors = [await client.next(), await client.next(), await client.next()];
    expect(errors.map(({ type, code, room }) => [type, code, room])).toEqual([
      ['error', 'forbidden', 'secret'],
      ['error', 'invalid_room', 'no name'],
      ['error', 'too_many_rooms', 'public.c'],
    ]);
    await client.quiet();
  });
});

describe('client frames', () => {
  it('subscribes, unsubscribes and subscribes again', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    for (let round = 0; round < 3; round++) {
      client.send({ type: 'subscribe', room: 'public.a' });
      expect(await client.next()).toEqual({
        type: 'subscribed',
        room: 'public.a',
        id: expect.stringMatching(CURSOR),
      });
      expect((await server.notify({ room: 'public.a', event: 'e' })).connections).toBe(1);
      expect(await client.next()).toMatchObject({ type: 'notification', room: 'public.a' });
      client.send({ type: 'unsubscribe', room: 'public.a' });
      expect(await client.next()).toEqual({ type: 'unsubscribed', room: 'public.a' });
      expect((await server.notify({ room: 'public.a', event: 'e' })).connections).toBe(0);
      await client.quiet();
    }
  });

  it('joins once, however often it is asked to', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/?room=public.a'));
    await client.nextOf('subscribed');
    client.send({ type: 'subscribe', room: 'public.a' });
    await client.nextOf('subscribed');
    expect((await server.notify({ room: 'public.a', event: 'e' })).connections).toBe(1);
    await client.nextOf('notification');
    await client.quiet();
  });

  it('answers leaving a room that was never joined', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    client.send({ type: 'unsubscribe', room: 'public.a', ref: 1 });
    expect(await client.next()).toEqual({ type: 'unsubscribed', room: 'public.a', ref: 1 });
  });

  it.each(['text', '', 0, -1.5, 2 ** 53 - 1, '\ud800'])('gives ref %j back in every answer', async ref => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    const frames = [
      [{ type: 'ping', ref }, 'pong'],
      [{ type: 'subscribe', room: 'public.a', ref }, 'subscribed'],
      [{ type: 'unsubscribe', room: 'public.a', ref }, 'unsubscribed'],
      [{ type: 'subscribe', room: 'secret', ref }, 'error'],
      [{ type: 'subscribe', room: 'no name', ref }, 'error'],
      [{ type: 'dance', ref }, 'error'],
      [{ type: 'subscribe', ref }, 'error'],
      [{ type: 'token', token: token({ sub: 'x' }), ref }, 'token'],
    ] as const;
    for (const [frame, type] of frames) {
      client.send(frame);
      expect(await client.next()).toMatchObject({ type, ref });
    }
  });

  it('answers a ping without ref with a bare pong', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    client.send({ type: 'ping' });
    expect(await client.nextText()).toBe('{"type":"pong"}');
  });

  it.each([
    'public.房间',
    'public.ñandú',
    'public._-=@.;:/',
    'public.٣',
    `public.${'x'.repeat(193)}`,
    `public.${'𠀀'.repeat(193)}`,
  ])('takes the room name %s', async room => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    client.send({ type: 'subscribe', room });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room });
    await server.notify({ room, event: 'e' });
    expect(await client.next()).toMatchObject({ type: 'notification', room });
  });

  it.each([
    '',
    ' public.a',
    'public.a b',
    'public.*',
    'public.a\n',
    `public.${'x'.repeat(194)}`,
    'public.\ud800',
    'public.😀',
  ])('refuses the room name %j and stays open', async room => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    client.send({ type: 'subscribe', room });
    const error = await client.next();
    expect(error).toMatchObject({ type: 'error', code: 'invalid_room', room });
    expect(error.message).toMatch(/1 to 200/);
    await client.quiet();
  });

  it('lets a connection join no more than MAX_ROOMS_PER_CONNECTION, and one more when it has left one', async () => {
    const server = await startServer({ MAX_ROOMS_PER_CONNECTION: '2' });
    const client = await connect(server.ws('/?rooms=public.a,public.b'));
    await client.nextOf('subscribed');
    await client.nextOf('subscribed');
    client.send({ type: 'subscribe', room: 'public.c' });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'too_many_rooms', room: 'public.c' });
    client.send({ type: 'subscribe', room: 'public.a' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'public.a' });
    client.send({ type: 'unsubscribe', room: 'public.a' });
    client.send({ type: 'subscribe', room: 'public.c' });
    expect(await client.next()).toMatchObject({ type: 'unsubscribed' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'public.c' });
  });
});

it('brings data byte for byte as it was posted', async () => {
  const server = await startServer();
  const client = await connect(server.ws('/?room=public.a'));
  await client.nextOf('subscribed');
  const data = '{"z":9007199254740993123,"a":1.0,"e":"\\u00e9\\/é","n":[1e2, -0],"__proto__":{"x":1}}';
  const response = await fetch(`${server.url}/notify`, {
    method: 'POST',
    headers: { authorization: 'Bearer a-key-for-tests-of-32-characters', 'content-type': 'application/json' },
    body: `{"room":"public.a","event":"e","data":${data}}`,
  });
  const { id } = (await response.json()) as { id: string };
  expect(await client.nextText()).toBe(
    `{"type":"notification","id":"${id}","room":"public.a","event":"e","data":${data}}`,
  );
});
