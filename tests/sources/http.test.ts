import { describe, expect, it } from '@jest/globals';
import { connect, type TestClient, token } from '../support/client.js';
import { expectProblem, post } from '../support/notify.js';
import { startServer, type TestServer } from '../support/server.js';

const ROOM_CHARACTERS = 'Orders_1-a=b@c.d;e:f/g';
const CHINESE = '房间.通知';

/** A client in two rooms, with its id; the first frames are taken. */
async function listen(server: TestServer, user: string): Promise<TestClient & { id: string }> {
  const client = await connect(
    server.ws(`/?room=public.a&room=public.b&token=${token({ sub: user, rooms: ['*'] })}`),
  );
  const welcome = await client.next();
  await client.next();
  await client.next();
  return Object.assign(client, { id: String(welcome.connection) });
}

describe('POST /notify', () => {
  it('answers id, connections and duplicate as JSON', async () => {
    const server = await startServer();
    const response = await post(server, { room: 'public.a', event: 'e' });
    expect(response.status).toBe(200);
    expect(response.headers['content-type']).toMatch(/^application\/json(;|$)/);
    expect(response.body).toEqual({
      id: expect.stringMatching(/^\d+-\d+$/),
      connections: 0,
      duplicate: false,
    });
  });

  it('takes a query, parameters of the content type, and the scheme in any case', async () => {
    const server = await startServer();
    const body = { room: 'public.a', event: 'e' };
    await post(server, body, { 'content-type': 'Application/JSON; charset="UTF-8"' }).expect(200);
    await post(server, body, { authorization: 'bearer a-key-for-tests-of-32-characters' }).expect(200);
    const other = await fetch(`${server.url}/notify?from=php`, {
      method: 'POST',
      headers: {
        authorization: 'Bearer a-key-for-tests-of-32-characters',
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
    });
    expect(other.status).toBe(200);
  });

  it('takes any of several keys', async () => {
    const [old, fresh] = ['an-old-key-of-32-characters-or-more', 'a-new-key-of-32-characters-or-more'];
    const server = await startServer({ NOTIFY_KEYS: `${old}, ${fresh}` });
    for (const key of [old, fresh])
      await post(server, { room: 'a', event: 'e' }, { authorization: `Bearer ${key}` }).expect(200);
    await post(server, { room: 'a', event: 'e' }).expect(401);
  });
});

describe('the addresses of a notification', () => {
  it('reach rooms, users, connections and everyone, and nobody else', async () => {
    const server = await startServer();
    const alice = await listen(server, 'alice');
    const bob = await listen(server, '42');
    alice.send({ type: 'unsubscribe', room: 'public.b' });
    await alice.next();
    const cases: [object, TestClient[]][] = [
      [{ room: 'public.a' }, [alice, bob]],
      [{ room: 'public.b' }, [bob]],
      [{ rooms: ['public.b', 'public.none'] }, [bob]],
      [{ user: 'alice' }, [alice]],
      [{ user: 42 }, [bob]],
      [{ users: ['alice', 42, 'nobody'] }, [alice, bob]],
      [{ connection: alice.id }, [alice]],
      [{ connections: [bob.id, '1.1'] }, [bob]],
      [{ everyone: true }, [alice, bob]],
      [{ everyone: false, user: 'alice' }, [alice]],
      [{ room: 'public.none' }, []],
    ];
    for (const [address, reached] of cases) {
      const { connections } = await server.notify({ ...address, event: 'e', data: address });
      expect({ address, connections }).toEqual({ address, connections: reached.length });
      for (const client of reached) expect(await client.next()).toMatchObject({ data: address });
      for (const client of [alice, bob]) await client.quiet();
    }
  });

  it('add up, and count a connection that several of them reach once', async () => {
    const server = await startServer();
    const alice = await listen(server, 'alice');
    const bob = await listen(server, 'bob');
    const { connections } = await server.notify({
      room: 'public.a',
      rooms: ['public.a', 'public.b', 'public.b'],
      user: 'alice',
      users: ['alice', 'bob'],
      connection: alice.id,
      connections: [alice.id, bob.id],
      everyone: true,
      event: 'e',
    });
    expect(connections).toBe(2);
    for (const client of [alice, bob]) {
      expect((await client.next()).type).toBe('notification');
      await client.quiet();
    }
  });

  it('leave out the connections in except, one or a list', async () => {
    const server = await startServer();
    const [alice, bob] = [await listen(server, 'alice'), await listen(server, 'bob')];
    const one = await server.notify({ room: 'public.a', connection: alice.id, event: '1', except: alice.id });
    expect(one.connections).toBe(1);
    const both = await server.notify({ everyone: true, event: '2', except: [alice.id, bob.id, '1.1'] });
    expect(both.connections).toBe(0);
    const none = await server.notify({ room: 'public.a', event: '3', except: [] });
    expect(none.connections).toBe(2);
    expect(await alice.next()).toMatchObject({ event: '3' });
    expect(await bob.next()).toMatchObject({ event: '1' });
    expect(await bob.next()).toMatchObject({ event: '3' });
  });

  it('may have Chinese room names, to the frame', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '房间.*' });
    const client = await connect(server.ws(`/?room=${encodeURIComponent(CHINESE)}`));
    expect(await client.nextOf('subscribed')).toMatchObject({ room: CHINESE });
    expect(await server.notify({ room: CHINESE, event: '已付款', data: '你好' })).toMatchObject({
      connections: 1,
    });
    expect(await client.next()).toMatchObject({ room: CHINESE, event: '已付款', data: '你好' });
  });
});

describe('the fields of a notification', () => {
  const valid = { room: 'a', event: 'e' };

  it.each<[string, object]>([
    ['a room name of every kind of character', { ...valid, room: ROOM_CHARACTERS }],
    ['a room name of 200 characters', { ...valid, room: 'é'.repeat(200) }],
    ['a room name of 200 characters beyond the BMP', { ...valid, room: '𠮷'.repeat(200) }],
    ['a user of 200 characters', { ...valid, user: '😀'.repeat(200) }],
    ['the greatest safe integer as a user', { ...valid, user: Number.MAX_SAFE_INTEGER }],
    ['a negative user, and zero', { ...valid, users: [-1, 0] }],
    ['an event of 200 characters', { ...valid, event: '😀'.repeat(200) }],
    ['a key of 200 characters', { ...valid, key: 'k'.repeat(200) }],
    ['ttl 0', { ...valid, ttl: 0 }],
    ['ttl as long as the retention', { ...valid, ttl: 600 }],
    ['data null', { ...valid, data: null }],
    ['empty lists beside an address', { ...valid, rooms: [], users: [], connections: [], except: [] }],
  ])('takes %s', async (_what, body) => {
    const server = await startServer();
    const response = await post(server, body);
    expect(response.body).toMatchObject({ duplicate: false });
    expect(response.status).toBe(200);
  });

  it.each<[string, unknown, RegExp]>([
    ['room', '', /1 to 200 characters/],
    ['room', 'a b', /Unicode letters and digits/],
    ['room', 'a*', /Unicode letters/],
    ['room', 'x'.repeat(201), /1 to 200/],
    ['room', '😀', /Unicode letters/],
    ['room', '\ud800', /Unicode letters/],
    ['room', 5, /string/],
    ['room', null, /string/],
    ['room', ['a'], /string/],
    ['rooms', 'a', /list/],
    ['rooms', { 0: 'a' }, /list/],
    ['user', '', /1 to 200/],
    ['user', 'x'.repeat(201), /1 to 200/],
    ['user', '\udc00', /1 to 200/],
    ['user', 1.5, /whole number/],
    ['user', 2 ** 53, /2\^53.*string/],
    ['user', -(2 ** 53), /2\^53/],
    ['user', true, /string/],
    ['user', null, /string/],
    ['users', 'a', /list/],
    ['connection', 'x', /welcome/],
    ['connection', 1.5, /connection id/],
    ['connections', '1.1', /list/],
    ['everyone', 1, /true or false/],
    ['everyone', 'true', /true or false/],
    ['everyone', null, /true or false/],
    ['event', '', /1 to 200/],
    ['event', 'x'.repeat(201), /1 to 200/],
    ['event', '\ud800x', /string/],
    ['event', 7, /string/],
    ['event', undefined, /^is missing$/],
    ['key', '', /1 to 200/],
    ['key', 'x'.repeat(201), /1 to 200/],
    ['key', '\ud800', /1 to 200/],
    ['key', 7, /1 to 200/],
    ['ttl', -1, /0 to 600/],
    ['ttl', 601, /0 to 600/],
    ['ttl', 1.5, /whole number of seconds/],
    ['ttl', 1e20, /whole number of seconds/],
    ['ttl', '5', /whole number of seconds/],
    ['ttl', null, /whole number of seconds/],
  ])('refuses %s: %j', async (field, value, message) => {
    const server = await startServer();
    const response = await post(server, { room: 'a', event: 'e', [field]: value });
    const { errors, detail } = expectProblem(response, 400, 'invalid_notification');
    expect(errors?.[0]).toEqual({ path: field, message: expect.stringMatching(message) });
    expect(detail).toContain(field);
  });

  it.each<[object, string]>([
    [{ rooms: ['a', 'b c'] }, 'rooms[1]'],
    [{ users: ['a', 1.5] }, 'users[1]'],
    [{ connections: ['1.1', '2.2', 'x'] }, 'connections[2]'],
    [{ except: ['1.1', 2] }, 'except[1]'],
  ])('names the place in a list: %j', async (fields, path) => {
    const server = await startServer();
    const { errors } = expectProblem(
      await post(server, { room: 'a', event: 'e', ...fields }),
      400,
      'invalid_notification',
    );
    expect(errors?.map(error => error.path)).toEqual([path]);
  });

  it('tells all faults at once', async () => {
    const server = await startServer();
    const response = await post(server, { room: ' ', user: 1.5, ttl: -1, foo: 1 });
    const { errors, detail } = expectProblem(response, 400, 'invalid_notification');
    expect(errors?.map(error => error.path).sort()).toEqual(['event', 'foo', 'room', 'ttl', 'user']);
    for (const name of ['event', 'foo', 'room', 'ttl', 'user']) expect(detail).toContain(name);
  });

  it.each([{}, { everyone: false }, { rooms: [] }, { except: '1.1' }])(
    'needs at least one address, which this is not: %j',
    async fields => {
      const server = await startServer();
      const { detail } = expectProblem(
        await post(server, { event: 'e', ...fields }),
        400,
        'invalid_notification',
      );
      expect(detail).toMatch(/nobody.*room.*user.*connection.*everyone/);
    },
  );

  it.each(['null', '5', '"room"', 'true'])('refuses %s, which is no object', async body => {
    const server = await startServer();
    const { detail } = expectProblem(await post(server, body), 400, 'invalid_notification');
    expect(detail).toMatch(/object/);
  });

  it.each([
    ['rom', 'room'],
    ['Room', 'room'],
    ['usres', 'users'],
    ['evnt', 'event'],
    ['dataa', 'data'],
    ['exept', 'except'],
    ['tll', 'ttl'],
  ])('refuses the unknown field %s and suggests %s', async (name, meant) => {
    const server = await startServer();
    const response = await post(server, { room: 'a', event: 'e', [name]: 1 });
    const { errors } = expectProblem(response, 400, 'invalid_notification');
    expect(errors).toEqual([{ path: name, message: expect.stringContaining(`did you mean ${meant}?`) }]);
  });

  it.each(['payload', '__proto__', 'constructor', 'hasOwnProperty', 'toString', ''])(
    'refuses the unknown field %j and lists the fields there are',
    async name => {
      const server = await startServer();
      // As text: JSON.stringify would not write __proto__.
      const response = await post(server, `{"room":"a","event":"e","${name}":{"event":"x"}}`);
      const { errors } = expectProblem(response, 400, 'invalid_notification');
      expect(errors?.[0]).toEqual({ path: name, message: expect.stringMatching(/room, rooms, user.*ttl/) });
      expect(Object.hasOwn(Object.prototype, 'event')).toBe(false);
    },
  );
});
