import { describe, expect, it } from '@jest/globals';
import { connect, type TestClient, token } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';

/** A client that has got its welcome and the answers for its rooms. */
async function join(server: TestServer, rooms: string[], claims?: object) {
  const jwt = claims === undefined ? '' : `&token=${token({ rooms: ['*'], ...claims })}`;
  const client = await connect(server.ws(`/?rooms=${rooms.join(',')}${jwt}`));
  const { connection } = await client.next();
  for (const _ of rooms) expect(await client.next()).toMatchObject({ type: 'subscribed' });
  return Object.assign(client, { connection: String(connection) });
}

async function silent(...clients: TestClient[]): Promise<void> {
  for (const client of clients) await client.quiet();
}

describe('whom a notification reaches', () => {
  it('a room: those who joined it, and them only', async () => {
    const server = await startServer();
    const [one, two] = [await join(server, ['public.a']), await join(server, ['public.a', 'public.b'])];
    const other = await join(server, ['public.b']);
    const sent = await server.notify({ room: 'public.a', event: 'e', data: { x: 1 } });
    expect(sent).toMatchObject({ connections: 2, duplicate: false });
    for (const client of [one, two])
      expect(await client.next()).toEqual({
        type: 'notification',
        id: sent.id,
        room: 'public.a',
        event: 'e',
        data: { x: 1 },
      });
    await silent(one, two, other);
  });

  it('a user: all tabs, without a room', async () => {
    const server = await startServer();
    const tabs = [await join(server, [], { sub: 42 }), await join(server, ['a'], { sub: '42' })];
    const others = [await join(server, ['a'], { sub: 4 }), await join(server, [])];
    const sent = await server.notify({ user: 42, event: 'e' });
    expect(sent.connections).toBe(2);
    for (const tab of tabs)
      expect(await tab.next()).toEqual({ type: 'notification', id: sent.id, event: 'e', data: null });
    await silent(...tabs, ...others);
  });

  it('a connection: that one, without a room', async () => {
    const server = await startServer();
    const [one, other] = [await join(server, [], { sub: 1 }), await join(server, [], { sub: 1 })];
    const sent = await server.notify({ connection: one.connection, event: 'e' });
    expect(sent.connections).toBe(1);
    expect(await one.next()).toEqual({ type: 'notification', id: sent.id, event: 'e', data: null });
    await silent(one, other);
  });

  it('everyone: every open connection, without a room', async () => {
    const server = await startServer();
    const clients = [
      await join(server, []),
      await join(server, ['public.a']),
      await join(server, [], { sub: 1 }),
    ];
    const sent = await server.notify({ everyone: true, event: 'e' });
    expect(sent.connections).toBe(3);
    for (const client of clients)
      expect(await client.next()).toEqual({ type: 'notification', id: sent.id, event: 'e', data: null });
    await silent(...clients);
  });

  it('nobody: a normal answer of 0', async () => {
    const server = await startServer();
    const client = await join(server, ['public.a']);
    for (const address of [{ room: 'public.b' }, { user: 'x' }, { connection: '1.1' }])
      expect(await server.notify({ ...address, event: 'e' })).toMatchObject({ connections: 0 });
    await silent(client);
  });

  it('many addresses: each connection once', async () => {
    const server = await startServer();
    const all = await join(server, ['a', 'b', 'c'], { sub: 1 });
    const second = await join(server, ['b'], { sub: 2 });
    const user = await join(server, [], { sub: 1 });
    const direct = await join(server, []);
    const outside = await join(server, ['d'], { sub: 3 });
    const sent = await server.notify({
      room: 'a',
      rooms: ['b', 'a', 'c'],
      user: 1,
      users: ['1'],
      connection: all.connection,
      connections: [direct.connection],
      event: 'e',
    });
    expect(sent.connections).toBe(4);
    expect(await all.next()).toMatchObject({ id: sent.id, room: 'a' });
    expect(await second.next()).toMatchObject({ id: sent.id, room: 'b' });
    expect(await user.next()).not.toHaveProperty('room');
    expect(await direct.next()).not.toHaveProperty('room');
    await silent(all, second, user, direct, outside);
  });

  it('everyone together with a room: the room only for those who joined it', async () => {
    const server = await startServer();
    const [inside, outside] = [await join(server, ['secret.room'], { sub: 1 }), await join(server, [])];
    expect((await server.notify({ room: 'secret.room', everyone: true, event: 'e' })).connections).toBe(2);
    expect(await inside.next()).toMatchObject({ room: 'secret.room' });
    expect(await outside.nextText()).not.toContain('secret.room');
  });

  it('does not show whom else it went to', async () => {
    const server = await startServer();
    const client = await join(server, ['public.b']);
    await server.notify({ rooms: ['hidden.a', 'public.b'], users: ['bob'], event: 'e' });
    const text = await client.nextText();
    expect(text).toContain('"room":"public.b"');
    expect(text).not.toMatch(/hidden|bob/);
  });

  it('except: not those, and they are not counted', async () => {
    const server = await startServer();
    const clients = [await join(server, ['a'], { sub: 1 }), await join(server, ['a'], { sub: 1 })];
    const third = await join(server, ['a'], { sub: 2 });
    const [one, two] = clients.map(({ connection }) => connection);
    const message = { room: 'a', user: 1, everyone: true, event: 'e' };
    expect((await server.notify({ ...message, except: one })).connections).toBe(2);
    expect((await server.notify({ ...message, except: [one, two, '1.1'] })).connections).toBe(1);
    expect(await third.next()).toMatchObject({ type: 'notification' });
    expect(await third.next()).toMatchObject({ type: 'notification' });
    expect(await clients[1]?.next()).toMatchObject({ type: 'notification' });
    await silent(...clients, third);
  });

  it('a room and a user of the same name are two', async () => {
    const server = await startServer();
    const [room, user] = [await join(server, ['x'], { sub: 'y' }), await join(server, ['y'], { sub: 'x' })];
    await server.notify({ room: 'x', event: 'to room x' });
    await server.notify({ user: 'x', event: 'to user x' });
    expect(await room.next()).toMatchObject({ event: 'to room x' });
    expect(await user.next()).toMatchObject({ event: 'to user x' });
    await silent(room, user);
  });
});

it('brings a repeated key once', async () => {
  const server = await startServer();
  const client = await join(server, ['public.a']);
  const first = await server.notify({ room: 'public.a', event: 'e', key: 'k' });
  expect(await server.notify({ room: 'public.a', event: 'e', key: 'k' })).toMatchObject({
    id: first.id,
    duplicate: true,
  });
  expect(await client.next()).toMatchObject({ id: first.id });
  await silent(client);
});

it('keeps the order of many that come together', async () => {
  const server = await startServer();
  const client = await join(server, ['public.a', 'public.b']);
  const results: { id: string }[] = await Promise.all(
    Array.from({ length: 100 }, (_, number) =>
      server.notify({ room: `public.${number % 2 ? 'a' : 'b'}`, event: 'e', data: number }),
    ),
  );
  const expected = new Map(results.map(({ id }, number) => [id, number]));
  const got: string[] = [];
  while (got.length < 100) {
    const { id, data } = await client.next();
    expect(expected.get(String(id))).toBe(data);
    got.push(String(id));
  }
  const order = (id: string) => id.split('-').map(Number) as [number, number];
  const sorted = [...got].sort((a, b) => order(a)[0] - order(b)[0] || order(a)[1] - order(b)[1]);
  expect(got).toEqual(sorted);
  await silent(client);
});
