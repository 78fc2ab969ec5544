import { describe, expect, it } from '@jest/globals';
import { clockOf } from '../support/clock.js';
import { connect } from '../support/client.js';
import { call, control, enter, walk } from '../support/control.js';
import { startServer, type TestServer } from '../support/server.js';

const NOBODY = { connections: 0, users: 0 };

/** Connections of users in rooms: Li twice, Ada and an anonymous one. */
async function filled(settings: Record<string, string> = {}): Promise<TestServer> {
  const server = await startServer({ PUBLIC_ROOMS: '*', ...settings });
  await enter(server, { claims: { sub: 'li', info: { n: 1 } }, rooms: ['a', 'b'] });
  await enter(server, { claims: { sub: 'li', info: { n: 2 } }, rooms: ['a'] });
  await enter(server, { claims: { sub: 'ada' }, rooms: ['a', 'c/d'] });
  await enter(server, { rooms: ['a'] });
  return server;
}

function get(server: TestServer, path: string): Promise<Record<string, unknown>> {
  return control(server, 'GET', path);
}

describe('GET /rooms', () => {
  it('lists the rooms that somebody is in, by name, with connections and users', async () => {
    const server = await filled();
    expect(await get(server, '/rooms')).toEqual({
      rooms: [
        { room: 'a', connections: 4, users: 2 },
        { room: 'b', connections: 1, users: 1 },
        { room: 'c/d', connections: 1, users: 1 },
      ],
      next: null,
    });
    expect(await get(await startServer(), '/rooms')).toEqual({ rooms: [], next: null });
  });

  it('may be asked for those that begin with a text, whatever that is', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*' });
    await enter(server, { rooms: ['a', 'ab', 'ab/c', 'b', 'Ж.1', 'Ж.2'] });
    const named = async (query: string) =>
      ((await get(server, `/rooms?${query}`)).rooms as { room: string }[]).map(({ room }) => room);
    expect(await named('prefix=ab')).toEqual(['ab', 'ab/c']);
    expect(await named('prefix=ab%2F')).toEqual(['ab/c']);
    expect(await named(`prefix=${encodeURIComponent('Ж')}`)).toEqual(['Ж.1', 'Ж.2']);
    expect(await named('prefix=')).toEqual(['a', 'ab', 'ab/c', 'b', 'Ж.1', 'Ж.2']);
    for (const nothing of ['prefix=abc', 'prefix=*', 'prefix=%20', `prefix=${'x'.repeat(300)}`])
      expect(await named(nothing)).toEqual([]);
    expect(await get(server, '/rooms?prefix=ab&limit=1')).toMatchObject({ next: 'ab' });
    expect(await named('prefix=ab&limit=1&after=ab')).toEqual(['ab/c']);
    // The pages need not have begun with this prefix.
    expect(await named('prefix=ab&after=a')).toEqual(['ab', 'ab/c']);
    expect(await named('prefix=ab&after=b')).toEqual([]);
  });

  it('lists a room no more when the last one has left it', async () => {
    const server = await filled();
    await get(server, '/rooms');
    const client = await enter(server, { rooms: ['z'] });
    expect(await get(server, '/rooms?prefix=z')).toMatchObject({ rooms: [{ room: 'z' }] });
    client.send({ type: 'unsubscribe', room: 'z' });
    await client.nextOf('unsubscribed');
    expect(await get(server, '/rooms?prefix=z')).toEqual({ rooms: [], next: null });
  });
});

describe('GET /rooms/{room}', () => {
  it('tells who is there, also where nobody is', async () => {
    const server = await filled();
    expect(await get(server, '/rooms/a')).toEqual({ room: 'a', connections: 4, users: 2, newest: null });
    expect(await get(server, '/rooms/nobody')).toEqual({ room: 'nobody', ...NOBODY, newest: null });
  });

  it('tells the newest notification to this room, as long as it is retained', async () => {
    let now = Date.now();
    const server = await startServer({ RETENTION_SECONDS: '600' }, { clock: clockOf(() => now) });
    const newest = async (room: string) => (await get(server, `/rooms/${room}`)).newest;
    await server.notify({ room: 'a', event: 'e' });
    const second = await server.notify({ rooms: ['a', 'b'], event: 'e' });
    const other = await server.notify({ room: 'c', event: 'e' });
    await server.notify({ everyone: true, event: 'e' });
    expect(await newest('a')).toBe(second.id);
    expect(await newest('b')).toBe(second.id);
    expect(await newest('c')).toBe(other.id);
    // The ttl says how long it may be replayed. It is the newest nevertheless.
    const short = await server.notify({ room: 'a', event: 'e', ttl: 1 });
    now += 2000;
    expect(await newest('a')).toBe(short.id);
    now += 601_000;
    // What is too old is dropped when something new has come.
    await server.notify({ room: 'd', event: 'e' });
    expect(await newest('b')).toBeNull();
    expect(await newest('a')).toBeNull();
    expect(await newest('d')).not.toBeNull();
  });
});

describe('GET /rooms/{room}/members', () => {
  it('lists the users with the info of the connection that came last', async () => {
    const server = await filled();
    expect(await get(server, '/rooms/a/members')).toEqual({
      members: [
        { user: 'ada', info: null, connections: 1 },
        { user: 'li', info: { n: 2 }, connections: 2 },
      ],
      next: null,
    });
    expect(await get(server, '/rooms/nobody/members')).toEqual({ members: [], next: null });
  });

  it('lists the members of a presence room as long as the others see them', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*', PRESENCE_GRACE_SECONDS: '3600' });
    const room = 'presence.a';
    await enter(server, { claims: { sub: 'li', info: { n: 1 } }, rooms: [room] });
    const gone = await enter(server, { claims: { sub: 'ada', info: {} }, rooms: [room] });
    await enter(server, { rooms: [room] });
    gone.send({ type: 'unsubscribe', room });
    await gone.nextOf('unsubscribed');
    expect(await get(server, `/rooms/${room}/members`)).toEqual({
      members: [
        { user: 'ada', info: {}, connections: 0 },
        { user: 'li', info: { n: 1 }, connections: 1 },
      ],
      next: null,
    });
    // It says who is in the room now.
    expect(await get(server, `/rooms/${room}`)).toMatchObject({ connections: 2, users: 1 });
  });

  it('lists no member of a presence room any more whose grace is over', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*', PRESENCE_GRACE_SECONDS: '0' });
    const room = 'presence.a';
    const gone = await enter(server, { claims: { sub: 'ada' }, rooms: [room] });
    gone.send({ type: 'unsubscribe', room });
    await gone.nextOf('unsubscribed');
    expect(await get(server, `/rooms/${room}/members`)).toEqual({ members: [], next: null });
  });
});

describe('GET /users/{user}', () => {
  it('tells the connections and the rooms of all of them; nobody is a normal answer', async () => {
    const server = await filled();
    expect(await get(server, '/users/li')).toEqual({ user: 'li', connections: 2, rooms: ['a', 'b'] });
    expect(await get(server, '/users/nobody')).toEqual({ user: 'nobody', connections: 0, rooms: [] });
  });

  it('is also for the user "online"', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*' });
    await enter(server, { claims: { sub: 'online' }, rooms: ['a'] });
    expect(await get(server, '/users/online')).toEqual({ user: 'online', connections: 1, rooms: ['a'] });
  });
});

describe('POST /users/online', () => {
  it('counts the connections of each of these users', async () => {
    const server = await filled();
    await enter(server, { claims: { sub: '42' } });
    const online = (users: unknown[]) => control(server, 'POST', '/users/online', { body: { users } });
    expect(await online(['li', 'ada', 'nobody', 42, 'li'])).toEqual({
      online: { li: 2, ada: 1, nobody: 0, '42': 1 },
    });
    expect(await online([])).toEqual({ online: {} });
    const many = Array.from({ length: 1000 }, (_, user) => `u${user}`);
    expect(Object.keys((await online(many)).online as object)).toEqual(many);
  });

  it('takes users that are also names of JavaScript', async () => {
    const server = await startServer();
    await enter(server, { claims: { sub: '__proto__' } });
    const users = ['__proto__', 'constructor', 'toString'];
    const { text } = await call(server, 'POST', '/users/online', { body: { users } });
    expect(text).toBe('{"online":{"__proto__":1,"constructor":0,"toString":0}}');
  });
});

describe('GET /connections', () => {
  it('lists them by id, each with everything that an operator wants to know', async () => {
    const now = Date.UTC(2026, 0, 2, 3, 4, 5);
    const server = await startServer({ PUBLIC_ROOMS: '*' }, { clock: clockOf(() => now) });
    const claims = { sub: 'li', exp: now / 1000 + 60, iat: now / 1000 };
    const user = await enter(server, { claims, rooms: ['b', 'a'] });
    const anonymous = await connect(server.ws(), [], { headers: { 'user-agent': 'A Browser' } });
    const id = String((await anonymous.next()).connection);
    const reports = [
      {
        connection: user.id,
        user: 'li',
        rooms: ['b', 'a'],
        protocol: 'postroom.v1',
        address: '127.0.0.1',
        userAgent: null,
        openedAt: '2026-01-02T03:04:05.000Z',
        state: 'live',
        waitingBytes: 0,
        node: expect.stringMatching(/^\S+$/),
      },
      expect.objectContaining({ connection: id, user: null, rooms: [], userAgent: 'A Browser' }),
    ];
    const byId = user.id < id ? reports : reports.toReversed();
    expect(await get(server, '/connections')).toEqual({ connections: byId, next: null });
    expect(await get(server, `/connections/${user.id}`)).toEqual(reports[0]);
    expect(await get(server, `/connections/${id}`)).toEqual(reports[1]);
  });

  it('shows who does not read: then bytes wait', async () => {
    const server = await startServer({ MAX_BUFFERED_BYTES: '1024' });
    const client = await enter(server, { rooms: ['public.a'] });
    client.socket.pause();
    const data = 'x'.repeat(100_000);
    let report: Record<string, unknown>;
    // The systems of both sides take some megabytes.
    do {
      await server.notify({ room: 'public.a', event: 'e', data });
      report = await get(server, `/connections/${client.id}`);
    } while (report.state === 'live');
    expect(report).toMatchObject({ state: 'reading', waitingBytes: expect.any(Number) });
    expect(report.waitingBytes).toBeGreaterThan(0);
    client.socket.resume();
    await client.nextOf('notification');
  });

  it('may be asked for those in a room, of a user, or both', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*' });
    const both = await enter(server, { claims: { sub: 'li' }, rooms: ['a/b', 'c'] });
    const user = await enter(server, { claims: { sub: 'li' }, rooms: ['c'] });
    const room = await enter(server, { claims: { sub: 'ada' }, rooms: ['a/b'] });
    const ids = async (query: string) =>
      ((await get(server, `/connections?${query}`)).connections as { connection: string }[]).map(
        ({ connection }) => connection,
      );
    expect(await ids('user=li')).toEqual([both.id, user.id].sort());
    expect(await ids('room=a%2Fb')).toEqual([both.id, room.id].sort());
    expect(await ids('room=a%2Fb&user=li')).toEqual([both.id]);
    expect(await ids('room=nobody')).toEqual([]);
    expect(await ids('room=c&user=ada')).toEqual([]);
  });
});

describe('GET /newest', () => {
  it('is a cursor: what comes after it comes to a page that was rendered with it', async () => {
    const server = await startServer();
    const empty = await get(server, '/newest');
    const before = await server.notify({ room: 'public.a', event: 'before' });
    const { id } = await get(server, '/newest');
    expect(id).toBe(before.id);
    const missed = await server.notify({ room: 'public.a', event: 'after' });
    const client = await connect(server.ws(`/?room=public.a&since=${id}`));
    expect(await client.nextOf('welcome')).toMatchObject({ recovered: true });
    expect(await client.nextOf('notification')).toMatchObject({ id: missed.id });
    await client.quiet();
    const first = await connect(server.ws(`/?room=public.a&since=${empty.id}`));
    expect(await first.nextOf('notification')).toMatchObject({ id: before.id });
  });
});

describe('pages', () => {
  const count = 23;
  const rooms = Array.from({ length: count }, (_, room) => `r${String(room).padStart(2, '0')}`);

  it.each([1, 5, 23, 24, 1000])('of %i give each room, member and connection once, in order', async limit => {
    const server = await startServer({ PUBLIC_ROOMS: '*' });
    await enter(server, { rooms });
    const users = Array.from({ length: count }, (_, user) => (user % 2 ? `ü/${user}` : `😀${user}`));
    const ids: string[] = [];
    for (const sub of users) ids.push((await enter(server, { claims: { sub }, rooms: ['all'] })).id);
    const all = async (path: string, list: string, name: string) => {
      const pages = await walk(server, path, { list, name, limit });
      expect(pages.slice(0, -1).every(page => page.length === limit)).toBe(true);
      return pages.flat();
    };
    expect(await all('/rooms', 'rooms', 'room')).toEqual(['all', ...rooms]);
    expect(await all('/rooms?prefix=r', 'rooms', 'room')).toEqual(rooms);
    expect(await all('/rooms/all/members', 'members', 'user')).toEqual([...users].sort());
    expect(await all('/connections?room=all', 'connections', 'connection')).toEqual([...ids].sort());
    expect(await all('/connections', 'connections', 'connection')).toEqual(expect.arrayContaining(ids));
  });

  it('have a hundred items unless told otherwise', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*', MAX_ROOMS_PER_CONNECTION: '1000' });
    await enter(server, { rooms: Array.from({ length: 101 }, (_, room) => `r${room}`) });
    const { rooms: listed, next } = await get(server, '/rooms');
    expect(listed).toHaveLength(100);
    expect(next).toBe((listed as { room: string }[]).at(-1)?.room);
  });

  it('list nothing twice and leave out nothing that stays, whatever comes and goes between them', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*' });
    await enter(server, { rooms });
    const guest = await enter(server);
    const join = async (room: string) => {
      guest.send({ type: 'subscribe', room });
      await guest.nextOf('subscribed');
    };
    const leave = async (room: string) => {
      guest.send({ type: 'unsubscribe', room });
      await guest.nextOf('unsubscribed');
    };
    for (const room of ['r00a', 'r01a', 'r02a', 'r10a']) await join(room);
    const pages = await walk(server, '/rooms', { list: 'rooms', name: 'room', limit: 4 }, async page => {
      if (page !== 1) return;
      // The last of the first page, and others before and behind it.
      expect(await get(server, '/rooms?limit=4')).toMatchObject({ next: 'r01a' });
      for (const room of ['r01a', 'r00a', 'r10a']) await leave(room);
      for (const room of ['a', 'r00b', 'r20a', 'z']) await join(room);
    });
    const listed = pages.flat();
    expect(listed).toEqual([...new Set(listed)].sort());
    expect(listed).toEqual(expect.arrayContaining([...rooms, 'r02a', 'r20a', 'z']));
    expect(listed).not.toContain('r10a');
    expect(listed).not.toContain('r00b');
  });

  it('of connections go on behind one that has closed', async () => {
    const server = await startServer();
    const clients = [];
    for (let client = 0; client < 6; client++) clients.push(await enter(server));
    clients.sort((one, two) => (one.id < two.id ? -1 : 1));
    const ids = clients.map(({ id }) => id);
    const wanted = { list: 'connections', name: 'connection', limit: 2 };
    const pages = await walk(server, '/connections', wanted, async page => {
      if (page === 1) for (const id of ids.slice(1, 3)) await control(server, 'DELETE', `/connections/${id}`);
    });
    expect(pages.flat()).toEqual([...ids.slice(0, 2), ...ids.slice(3)]);
  });
});
