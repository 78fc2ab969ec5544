import { describe, expect, it } from '@jest/globals';
import { connect, type TestClient, token } from '../support/client.js';
import { KEY, startServer, type TestServer } from '../support/server.js';

const ROOM = 'presence.chat';
const rooms = ['presence.*', 'presence-*', 'orders'];

/** Connects without a room. */
async function open(server: TestServer, sub?: string, info?: object): Promise<TestClient> {
  const client = await connect(server.ws(`/?token=${token({ sub, rooms, info })}`));
  await client.nextOf('welcome');
  return client;
}

async function enter(server: TestServer, sub?: string, info?: object, room = ROOM): Promise<TestClient> {
  const client = await open(server, sub, info);
  client.send({ type: 'subscribe', room });
  await client.nextOf('subscribed');
  return client;
}

describe('presence', () => {
  it('tells the members in subscribed, then who joins, changes and leaves', async () => {
    const server = await startServer({ PRESENCE_GRACE_SECONDS: '0' });
    const ann = await open(server, 'ann', { name: 'Ann' });
    ann.send({ type: 'subscribe', room: ROOM, ref: 1 });
    expect(await ann.next()).toEqual({
      type: 'subscribed',
      room: ROOM,
      id: expect.any(String),
      members: [{ user: 'ann', info: { name: 'Ann' } }],
      ref: 1,
    });
    const bob = await connect(server.ws(`/?room=${ROOM}&token=${token({ sub: 'bob', rooms })}`));
    expect(await bob.nextOf('subscribed')).toMatchObject({
      members: [
        { user: 'ann', info: { name: 'Ann' } },
        { user: 'bob', info: null },
      ],
    });
    expect(await ann.next()).toEqual({ type: 'joined', room: ROOM, user: 'bob', info: null });
    bob.send({ type: 'token', token: token({ sub: 'bob', rooms, info: { name: 'Bob' } }) });
    const changed = { type: 'changed', room: ROOM, user: 'bob', info: { name: 'Bob' } };
    expect(await ann.next()).toEqual(changed);
    expect(await bob.nextOf('changed')).toEqual(changed);
    bob.send({ type: 'unsubscribe', room: ROOM });
    expect(await ann.next()).toEqual({ type: 'left', room: ROOM, user: 'bob' });
    await ann.quiet();
  });

  it('is there by PRESENCE_ROOMS alone', async () => {
    const server = await startServer({ PRESENCE_ROOMS: 'orders' });
    const client = await open(server, 'ann');
    for (const room of ['orders', ROOM]) client.send({ type: 'subscribe', room });
    expect(await client.next()).toHaveProperty('members');
    expect(await client.next()).not.toHaveProperty('members');
    const none = await startServer({ PRESENCE_ROOMS: 'none' });
    const other = await open(none, 'ann');
    other.send({ type: 'subscribe', room: ROOM });
    expect(await other.next()).not.toHaveProperty('members');
  });

  it('makes no noise if a page is loaded anew', async () => {
    const server = await startServer();
    const ann = await enter(server, 'ann');
    const bob = await enter(server, 'bob');
    expect(await ann.next()).toMatchObject({ type: 'joined', user: 'bob' });
    for (let times = 0; times < 3; times++) {
      bob.socket.terminate();
      await bob.closed;
      await enter(server, 'bob');
    }
    await ann.quiet();
  });

  it('gives the list to a visitor who logs in on the open connection', async () => {
    const server = await startServer();
    const ann = await enter(server, 'ann');
    const visitor = await enter(server);
    await visitor.quiet();
    visitor.send({ type: 'token', token: token({ sub: 'bob', rooms }) });
    expect(await visitor.nextOf('members')).toEqual({
      type: 'members',
      room: ROOM,
      members: [
        { user: 'ann', info: null },
        { user: 'bob', info: null },
      ],
    });
    expect(await ann.next()).toMatchObject({ type: 'joined', user: 'bob' });
  });

  it('tells a large room by its count, to those who come as well', async () => {
    const server = await startServer({ MAX_PRESENCE_MEMBERS: '2' });
    const ann = await enter(server, 'ann');
    await enter(server, 'bob');
    expect(await ann.next()).toMatchObject({ type: 'joined' });
    await enter(server, 'cem');
    expect(await ann.next()).toEqual({ type: 'members', room: ROOM, count: 3 });
    const late = await open(server, 'dia');
    late.send({ type: 'subscribe', room: ROOM });
    expect(await late.next()).not.toHaveProperty('members');
    expect(await late.next()).toMatchObject({ type: 'members', room: ROOM, count: expect.any(Number) });
  });

  it('shows who was put into the room by the backend, and shows the room to them', async () => {
    const server = await startServer({ PRESENCE_GRACE_SECONDS: '0' });
    const ann = await enter(server, 'ann');
    const bob = await connect(server.ws(`/?token=${token({ sub: 'bob' })}`));
    await bob.nextOf('welcome');
    const move = (method: string) =>
      fetch(`${server.url}/users/bob/rooms/${ROOM}`, {
        method,
        headers: { authorization: `Bearer ${KEY}` },
      });
    await move('PUT');
    expect(await bob.next()).toMatchObject({
      type: 'subscribed',
      members: [{ user: 'ann' }, { user: 'bob' }],
    });
    expect(await ann.next()).toMatchObject({ type: 'joined', user: 'bob' });
    await move('DELETE');
    expect(await bob.next()).toEqual({ type: 'unsubscribed', room: ROOM });
    expect(await ann.next()).toMatchObject({ type: 'left', user: 'bob' });
  });

  it('gives many large lists to one connection as it takes them', async () => {
    const server = await startServer({ MAX_BUFFERED_BYTES: '4096' });
    const many = Array.from({ length: 10 }, (_, index) => `presence.${index}`);
    const info = { text: 'x'.repeat(1000) };
    const enterAll = (sub: string) =>
      connect(server.ws(`/?rooms=${many}&token=${token({ sub, rooms, info })}`));
    // The lists of a client are right when every room has these members.
    const follow = async (client: TestClient, expected: string[]) => {
      const lists = new Map<unknown, unknown[]>();
      const isRight = () => many.every(room => lists.get(room)?.join() === expected.join());
      while (!isRight()) {
        const { room, members, type, user } = await client.next();
        if (Array.isArray(members))
          lists.set(
            room,
            members.map(member => member.user),
          );
        if (type === 'joined') lists.get(room)?.push(user);
      }
    };
    const ann = await enterAll('ann');
    const bob = await enterAll('bob');
    await Promise.all([follow(ann, ['ann', 'bob']), follow(bob, ['ann', 'bob'])]);
    await follow(await enterAll('cem'), ['ann', 'bob', 'cem']);
  });

  it.each([
    ['a list', []],
    ['a text', 'Ann'],
    ['a number', 1],
    ['null', null],
    ['more than 1 KiB', { text: 'ä'.repeat(600) }],
  ])('refuses an info that is %s with 4501', async (_kind, info) => {
    const server = await startServer();
    const client = await connect(server.ws(`/?token=${token({ sub: 'ann', info })}`));
    expect(await client.next()).toMatchObject({
      type: 'error',
      code: 'invalid_token',
      message: expect.stringContaining('info'),
    });
    expect(await client.closed).toMatchObject({ code: 4501 });
  });
});
