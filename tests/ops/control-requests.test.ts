import { describe, expect, it } from '@jest/globals';
import { type Answer, call, control, enter } from '../support/control.js';
import { expectProblem } from '../support/notify.js';
import { connect, token } from '../support/client.js';
import { startServer } from '../support/server.js';

const ID = '1.1';
/** All requests, each with the status of its answer if nobody is there. */
const REQUESTS: [method: string, path: string, status: number, body?: object][] = [
  ['GET', '/rooms', 200],
  ['GET', '/rooms/a', 200],
  ['GET', '/rooms/a/members', 200],
  ['GET', '/users/li', 200],
  ['GET', '/users/online', 200],
  ['POST', '/users/online', 200, { users: ['li'] }],
  ['GET', '/connections', 200],
  ['GET', `/connections/${ID}`, 404],
  ['PUT', `/connections/${ID}/rooms/a`, 404],
  ['DELETE', `/connections/${ID}/rooms/a`, 404],
  ['PUT', '/users/li/rooms/a', 200],
  ['DELETE', '/users/li/rooms/a', 200],
  ['DELETE', `/connections/${ID}`, 200],
  ['DELETE', '/users/li/connections', 200],
  ['DELETE', '/rooms/a/connections', 200],
  ['POST', '/users/li/revoke', 200],
  ['GET', '/newest', 200],
];
const PATHS = [...new Set(REQUESTS.map(([, path]) => path))];
const LISTS = ['/rooms', '/rooms/a/members', '/connections'];

describe('an answer of the control API', () => {
  it.each(REQUESTS)('to %s %s is not to be kept, whether it is good, bad or refused', async (...request) => {
    const [method, path, status, body] = request;
    const server = await startServer();
    const good = await call(server, method, path, { ...(body && { body }) });
    expect(good.status).toBe(status);
    const bad = await call(server, method, `${path}?nothing=1`, { ...(body && { body }) });
    // An unknown connection may be told first.
    expect(bad.status).toBeGreaterThanOrEqual(400);
    const refused = await call(server, method, path, { headers: { authorization: undefined } });
    const wrong = await call(server, 'PATCH', path);
    for (const { headers } of [good, bad, refused, wrong]) expect(headers['cache-control']).toBe('no-store');
    expect(good.headers['content-type']).toMatch(status === 200 ? /^application\/json/ : /problem\+json/);
  });

  it.each(REQUESTS)('to %s %s needs a right key, and says which', async (...request) => {
    const [method, path, , body] = request;
    const server = await startServer();
    const client = await enter(server, { claims: { sub: 'li' }, rooms: ['public.a'] });
    const own = path.replace(ID, client.id);
    for (const authorization of [undefined, '', 'Bearer', 'Bearer wrong', 'Basic bGk6bGk=']) {
      const answer = await call(server, method, own, { headers: { authorization }, ...(body && { body }) });
      expectProblem(answer, 401, 'unauthorized');
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer\b/);
    }
    // Nothing was done.
    await client.quiet();
    client.send({ type: 'subscribe', room: 'public.b' });
    expect(await client.next()).toMatchObject({ type: 'subscribed' });
  });

  it.each(PATHS)('to any other method at %s is 405 with the right ones', async path => {
    const server = await startServer();
    const methods = REQUESTS.filter(([, other]) => other === path).map(([method]) => method);
    const allowed = methods.flatMap(method => (method === 'GET' ? ['GET', 'HEAD'] : method));
    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      if (methods.includes(method)) continue;
      const answer = await call(server, method, path);
      expectProblem(answer, 405, 'method_not_allowed');
      expect(answer.headers.allow?.split(', ').sort()).toEqual([...allowed].sort());
    }
  });

  it.each(REQUESTS.filter(([method]) => method === 'GET'))(
    'to HEAD %s %s is that to GET without its body',
    async (_method, path, status) => {
      const server = await startServer();
      const get = await call(server, 'GET', path);
      const head = await call(server, 'HEAD', path);
      expect(head).toMatchObject({ status, text: '' });
      expect(head.headers['content-length']).toBe(get.headers['content-length']);
      const refused = await call(server, 'HEAD', path, { headers: { authorization: undefined } });
      expect(refused.status).toBe(401);
    },
  );

  it.each(REQUESTS)('to %s %s?nothing=1 names the parameter', async (...request) => {
    const [method, path, , body] = request;
    const server = await startServer();
    const { id } = await enter(server);
    const answer = await call(server, method, `${path.replace(ID, id)}?nothing=1`, { ...(body && { body }) });
    expect(expectProblem(answer, 400, 'invalid_request').detail).toMatch(/"nothing"/);
  });

  it('to a wrong path is 404', async () => {
    const server = await startServer();
    for (const path of ['/room', '/users', '/rooms/a/b', '/rooms//members', '/users/li/rooms', '/newest/1'])
      expectProblem(await call(server, 'GET', path), 404, 'not_found');
  });
});

describe('a name in the path', () => {
  // `..` is a room name like another, though a URL would resolve it.
  it.each([
    ['with a slash', 'a/b'],
    ['of dots', '..'],
    ['of one dot', '.'],
    ['in Unicode', 'Жизнь:好'],
    ['with a pair of surrogates', '𝒜'],
    ['with every sign that is allowed', '_-=@.;:/'],
    ['of 200 characters', '好'.repeat(200)],
    ['like one that is reserved', 'online'],
    ['like a member of objects', '__proto__'],
  ])('may be a room %s', async (_what, room) => {
    const server = await startServer({ PUBLIC_ROOMS: '*' });
    const path = `/rooms/${encodeURIComponent(room)}`;
    const client = await enter(server, { claims: { sub: 'li' }, rooms: [room] });
    expect(await control(server, 'GET', path)).toMatchObject({ room, connections: 1, users: 1 });
    expect(await control(server, 'GET', `${path}/members`)).toMatchObject({ members: [{ user: 'li' }] });
    expect(await control(server, 'GET', `/rooms?prefix=${encodeURIComponent(room)}`)).toMatchObject({
      rooms: [{ room }],
    });
    expect(await control(server, 'DELETE', `/users/li${path}`)).toEqual({ connections: 1 });
    expect(await client.next()).toEqual({ type: 'unsubscribed', room });
    expect(await control(server, 'PUT', `/connections/${client.id}${path}`)).toEqual({ connections: 1 });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room });
    expect(await control(server, 'DELETE', `${path}/connections`)).toEqual({ removed: 1 });
  });

  it.each([
    ['with a slash', 'org/7'],
    ['of dots', '..'],
    ['with a space, a percent sign and a question mark', '50 % of it?'],
    ['that looks encoded', 'a%2Fb'],
    ['in Unicode', '李😀'],
    ['with a line break', 'a\nb'],
    ['of 200 characters', '😀'.repeat(200)],
    ['like a member of objects', '__proto__'],
    ['like a path', 'online'],
  ])('may be a user %s', async (_what, user) => {
    const server = await startServer();
    const path = `/users/${encodeURIComponent(user)}`;
    const client = await enter(server, { claims: { sub: user } });
    expect(await control(server, 'GET', path)).toEqual({ user, connections: 1, rooms: [] });
    expect(await control(server, 'PUT', `${path}/rooms/a`)).toEqual({ connections: 1 });
    const list = await control(server, 'GET', `/connections?user=${encodeURIComponent(user)}`);
    expect(list).toMatchObject({ connections: [{ connection: client.id, user }] });
    expect(await control(server, 'DELETE', `${path}/connections`)).toEqual({ removed: 1 });
  });

  const users = ['/users/%', '/users/%/connections', '/users/%/revoke', '/users/%/rooms/a'];
  const rooms = ['/rooms/%', '/rooms/%/members', '/rooms/%/connections', '/users/li/rooms/%'];
  const methodOf = (path: string) =>
    REQUESTS.find(([, other]) => shapeOf(other) === shapeOf(path))?.[0] ?? '';
  /** The path without its names. */
  function shapeOf(path: string): string {
    return path.replaceAll(/(?<=\/(?:rooms|users|connections)\/)[^/]+/g, '*');
  }

  it.each(rooms)('that is no room name is refused at %s with the rule', async path => {
    const server = await startServer();
    for (const name of ['a b', 'a*', 'a?', 'a#b', 'a\n', 'x'.repeat(201), '😀']) {
      const answer = await call(server, methodOf(path), path.replace('%', encodeURIComponent(name)));
      const { detail } = expectProblem(answer, 400, 'invalid_request');
      expect(detail).toMatch(/is no room name; one has 1 to 200 characters out of/);
      expect(detail.length).toBeLessThan(250);
    }
  });

  it.each(users)('of 201 characters is no user at %s', async path => {
    const server = await startServer();
    const answer = await call(server, methodOf(path), path.replace('%', 'x'.repeat(201)));
    expect(expectProblem(answer, 400, 'invalid_request').detail).toMatch(/1 to 200 characters/);
  });

  it.each([...users, ...rooms])('must be percent-encoded UTF-8 at %s', async path => {
    const server = await startServer();
    for (const wrong of ['%', '%2', '%zz', '%FF', '%C3', '%ED%A0%80']) {
      const answer = await call(server, methodOf(path), path.replace('%', wrong));
      expect(expectProblem(answer, 400, 'invalid_request').detail).toMatch(/percent-encoded/);
    }
  });

  it.each([
    ['GET', '/connections/%'],
    ['PUT', '/connections/%/rooms/a'],
    ['DELETE', '/connections/%/rooms/a'],
  ])('%s %s of another form than an id is an unknown connection', async (method, path) => {
    const server = await startServer();
    for (const id of ['everyone', '1', '1.1.1', '1.', '-1.1', '..', 'x'.repeat(5000)]) {
      const answer = await call(server, method, path.replace('%', id));
      const { detail } = expectProblem(answer, 404, 'unknown_connection');
      expect(detail).toContain(id.slice(0, 50));
      expect(detail.length).toBeLessThan(120);
    }
  });

  it('of another form than an id removes nobody', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.nextOf('welcome');
    for (const id of ['everyone', '1', '..'])
      expect((await call(server, 'DELETE', `/connections/${id}`)).body).toEqual({ removed: 0 });
    await client.quiet();
  });

  it('that a client has shortened is no other path', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    const { connection } = await client.next();
    // What curl makes of /connections/…/rooms/..
    expectProblem(await call(server, 'DELETE', `/connections/${connection}/`), 404, 'not_found');
    await client.quiet();
  });

  it('is another one in other letters', async () => {
    const server = await startServer();
    await (await connect(server.ws(`/?token=${token({ sub: 'Online' })}`))).nextOf('welcome');
    for (const [user, connections] of [
      ['Online', 1],
      ['online', 0],
    ] as const)
      expect((await call(server, 'GET', `/users/${user}`)).body).toMatchObject({ user, connections });
    expectProblem(await call(server, 'GET', '/USERS/Online'), 404, 'not_found');
  });

  it('that is an id of nobody is an unknown connection, except to DELETE, for which it is gone', async () => {
    const server = await startServer();
    expectProblem(await call(server, 'GET', '/connections/1.2'), 404, 'unknown_connection');
    for (const method of ['PUT', 'DELETE'])
      expectProblem(await call(server, method, '/connections/1.2/rooms/a'), 404, 'unknown_connection');
    expect(await control(server, 'DELETE', '/connections/1.2')).toEqual({ removed: 0 });
  });
});

describe('a parameter', () => {
  it.each(LISTS)('limit of %s may be 1 to 1,000', async path => {
    const server = await startServer();
    for (const limit of ['1', '1000', '0001']) await control(server, 'GET', `${path}?limit=${limit}`);
    for (const limit of ['0', '1001', '1000000', 'abc', '', '-1', '1.5', '1e2', '%201', '0x10', '٣']) {
      const answer = await call(server, 'GET', `${path}?limit=${encodeURI(limit)}`);
      const { detail } = expectProblem(answer, 400, 'invalid_request');
      expect(detail).toMatch(/^limit is ".*"; it must be a whole number from 1 to 1000\.$/);
    }
  });

  it.each(LISTS)('of %s may not be given twice', async path => {
    const server = await startServer();
    for (const query of ['limit=1&limit=1', 'after=1.1&after=1.2', 'limit=1&after=1.1&limit=2']) {
      const answer = await call(server, 'GET', `${path}?${query}`);
      const { detail } = expectProblem(answer, 400, 'invalid_request');
      expect(detail).toMatch(/^(limit|after) is given more than once\.$/);
    }
  });

  it.each(LISTS)('of %s that is nearly right is asked about', async path => {
    const server = await startServer();
    for (const [query, meant] of [
      ['limt=5', 'limit'],
      ['LIMIT=5', 'limit'],
      ['limit[]=5', undefined],
      ['afer=a', 'after'],
      ['__proto__=1', undefined],
      [`${'x'.repeat(3000)}=1`, undefined],
    ] as const) {
      const answer = await call(server, 'GET', `${path}?${query}`);
      const { detail } = expectProblem(answer, 400, 'invalid_request');
      expect(detail).toMatch(meant ? new RegExp(`did you mean ${meant}\\?$`) : /there are .*limit, after\.$/);
      expect(detail.length).toBeLessThan(200);
    }
  });

  it.each([
    ['/rooms', ['a b', '', '*', 'x'.repeat(201)], ['a', 'no.room/of:this']],
    ['/rooms/a/members', ['', 'x'.repeat(201)], ['a b', 'nobody', '😀']],
    ['/connections', ['', 'a', '1', '1.2.3', 'room:a'], ['1.2', '99999999999999999999.0']],
  ])(
    'after of %s must be able to be a name of the list, but need not be there',
    async (path, wrong, right) => {
      const server = await startServer();
      for (const after of right)
        expect(await control(server, 'GET', `${path}?after=${encodeURIComponent(after)}`)).toHaveProperty(
          'next',
        );
      for (const after of wrong) {
        const answer = await call(server, 'GET', `${path}?after=${encodeURIComponent(after)}`);
        const { detail } = expectProblem(answer, 400, 'invalid_request');
        expect(detail).toMatch(/^after is ".*"; it must be the "next" of the page before\.$/);
        expect(detail.length).toBeLessThan(150);
      }
    },
  );

  it('room or user of GET /connections must be able to be one', async () => {
    const server = await startServer();
    const detailOf = async (query: string) =>
      expectProblem(await call(server, 'GET', `/connections?${query}`), 400, 'invalid_request').detail;
    expect(await detailOf('room=a%20b')).toMatch(/^"a b" is no room name/);
    expect(await detailOf('room=')).toMatch(/^"" is no room name/);
    expect(await detailOf('user=')).toMatch(/1 to 200 characters/);
    expect(await detailOf(`user=${'x'.repeat(201)}`)).toMatch(/1 to 200 characters/);
  });
});

describe('the body of POST /users/online', () => {
  async function refused(body: Buffer | string | object, headers: Record<string, string | undefined> = {}) {
    return call(await startServer(), 'POST', '/users/online', { body, headers });
  }
  const detail = (answer: Answer, status: number, code: string) => expectProblem(answer, status, code).detail;

  it.each([
    ['no JSON', '{"users":', /is not JSON in UTF-8/],
    ['empty', '', /is not JSON in UTF-8/],
    ['no UTF-8', Buffer.from('7b227573657273223a5b22ff225d7d', 'hex'), /is not JSON in UTF-8/],
  ])('may not be %s', async (_what, body, sentence) => {
    expect(detail(await refused(body), 400, 'invalid_json')).toMatch(sentence);
  });

  it.each([
    ['a list', [], /must be a JSON object/],
    ['null', 'null', /must be a JSON object/],
    ['a text', '"users"', /must be a JSON object/],
    ['without users', {}, /users must be a list/],
    ['with one user', { users: '1' }, /users must be a list/],
    ['with an object of users', { users: { 0: '1' } }, /users must be a list/],
    ['with other fields', { users: [], user: '1' }, /^"user" is not a field/],
    ['of 1,001 users', { users: Array(1001).fill('1') }, /may have 1000 entries, this one has 1001/],
    ['with an empty user', { users: ['1', ''] }, /^users\[1\] must be 1 to 200 characters/],
    ['with too long a user', { users: ['x'.repeat(201)] }, /^users\[0\] must be/],
    ['with a fraction', { users: ['1', '2', 1.5] }, /^users\[2\] must be/],
    ['with an unsafe integer', '{"users":[9007199254740992]}', /^users\[0\] must be/],
    ['with null', { users: [null] }, /^users\[0\] must be/],
    ['with a list', { users: [['1']] }, /^users\[0\] must be/],
    ['with half a pair of surrogates', '{"users":["\\ud800"]}', /^users\[0\] must be/],
  ])('may not be %s', async (_what, body, sentence) => {
    expect(detail(await refused(body), 400, 'invalid_request')).toMatch(sentence);
  });

  it('may have a megabyte, which is enough for all that is allowed', async () => {
    const server = await startServer();
    const users = Array.from({ length: 1000 }, (_, user) => '😀'.repeat(196) + String(user).padStart(4, '0'));
    const { online } = await control(server, 'POST', '/users/online', { body: { users } });
    expect(Object.keys(online as object)).toHaveLength(1000);
    const spaces = ' '.repeat(1024 * 1024);
    expectProblem(await refused(`${spaces}{"users":[]}`), 413, 'payload_too_large');
    const chunked = { 'content-length': undefined, 'transfer-encoding': 'chunked' };
    expectProblem(await refused(`${spaces}{"users":[]}`, chunked), 413, 'payload_too_large');
  });

  it.each([
    [undefined],
    ['text/plain'],
    ['application/x-www-form-urlencoded'],
    ['multipart/form-data; boundary=x'],
    ['application/json; charset=latin1'],
  ])('must be JSON by its content type, not %s', async type => {
    const answer = await refused('{"users":[]}', { 'content-type': type });
    expectProblem(answer, 415, 'unsupported_media_type');
  });

  it('may say its charset, and may begin with a byte order mark', async () => {
    const server = await startServer();
    const headers = { 'content-type': 'application/json; charset=UTF-8' };
    const body = Buffer.from('\ufeff{"users":["1"]}');
    expect(await control(server, 'POST', '/users/online', { body, headers })).toEqual({ online: { 1: 0 } });
  });
});
