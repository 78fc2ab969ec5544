import { expect, it } from '@jest/globals';
import { connect, token } from '../support/client.js';
import { describeWith } from '../support/requires.js';
import { KEY, startServer } from '../support/server.js';
import { closedPort, problem, RECEIPT, type Reply, startBackend } from './backend.js';
import { php, runClient, type Timed, type Told } from './php.js';

/** A busy machine may add so much to a time that PHP measures. */
const SLACK_MS = 1500;
const CONNECTION = {
  connection: '1.2',
  user: null,
  rooms: ['a'],
  protocol: 'sse',
  address: '::1',
  userAgent: null,
  openedAt: '2026-01-02T03:04:05Z',
  state: 'live',
  waitingBytes: 0,
  node: 'n1',
};

function answer(body: object): Reply {
  return { status: 200, body };
}

function rooms(names: string[], next: string | null, more: object = {}): Reply {
  const counts = { connections: 1, users: 1 };
  return answer({ rooms: names.map(room => ({ room, ...counts })), next, ...more });
}

/** Every call that is one request and takes no body. */
const CALLS: [call: string, method: string, url: string, body: object][] = [
  [
    'room("a/b:ü c")',
    'GET',
    '/rooms/a%2Fb%3A%C3%BC%20c',
    { room: 'r', connections: 0, users: 0, newest: null },
  ],
  ['room("..")', 'GET', '/rooms/..', { room: '..', connections: 0, users: 0, newest: '1-0' }],
  ['user(42)', 'GET', '/users/42', { user: '42', connections: 2, rooms: ['a'], partial: true }],
  ['user("li@x/y")', 'GET', '/users/li%40x%2Fy', { user: 'li@x/y', connections: 0, rooms: [] }],
  ['connection("1.2")', 'GET', '/connections/1.2', CONNECTION],
  ['join(42, "a/b")', 'PUT', '/users/42/rooms/a%2Fb', { connections: 2 }],
  ['join("{room}", "a")', 'PUT', '/users/%7Broom%7D/rooms/a', { connections: 0 }],
  ['leave("li", "ü")', 'DELETE', '/users/li/rooms/%C3%BC', { connections: 0, partial: true }],
  ['joinConnection("1.2", "a,b")', 'PUT', '/connections/1.2/rooms/a%2Cb', { connections: 1 }],
  ['leaveConnection("1.2", "a")', 'DELETE', '/connections/1.2/rooms/a', { connections: 1 }],
  ['removeConnection("1.2")', 'DELETE', '/connections/1.2', { removed: 0 }],
  ['removeUser(42)', 'DELETE', '/users/42/connections', { removed: 3 }],
  ['removeRoom("a?b#c")', 'DELETE', '/rooms/a%3Fb%23c/connections', { removed: 3 }],
  ['revoke(42)', 'POST', '/users/42/revoke', { removed: 1 }],
];

describeWith(['php'], 'PHP client: requests of the control API', () => {
  it.each(CALLS)('%s is %s %s, with the key; the answer comes as it is', async (call, method, url, body) => {
    const backend = await startBackend(answer(body));
    const told = await php(`return $postroom->${call};`, { url: `${backend.url}/postroom` });
    expect(told).toEqual(body);
    expect(backend.requests).toHaveLength(1);
    expect(backend.requests[0]).toMatchObject({
      method,
      url: `/postroom${url}`,
      text: '',
      headers: { authorization: `Bearer ${KEY}`, accept: 'application/json' },
    });
  });

  it('those without a body say so, and name no content type', async () => {
    const backend = await startBackend(answer({ connections: 1, removed: 1 }));
    await php(
      `$postroom->join(1, 'a'); $postroom->revoke(1); $postroom->user(1); return $postroom->leave(1, 'a');`,
      backend,
    );
    const seen = backend.requests.map(({ headers }) => [headers['content-length'], headers['content-type']]);
    expect(seen).toEqual([
      ['0', undefined],
      ['0', undefined],
      [undefined, undefined],
      [undefined, undefined],
    ]);
  });

  it('all use the connection on which notifications go, and leave nothing behind for the next one', async () => {
    const backend = await startBackend(RECEIPT, answer({ id: '7-0' }), answer({ connections: 1 }), RECEIPT);
    await php(
      `$postroom->toRoom('a', 'first'); $postroom->newest(); $postroom->join(1, 'a');
       return $postroom->toRoom('a', 'last');`,
      backend,
    );
    expect(backend.connections).toBe(1);
    expect(backend.requests.map(({ method, url, body }) => [method, url, body?.event])).toEqual([
      ['POST', '/notify', 'first'],
      ['GET', '/newest', undefined],
      ['PUT', '/users/1/rooms/a', undefined],
      ['POST', '/notify', 'last'],
    ]);
    expect(backend.requests[3]?.headers['content-type']).toBe('application/json');
  });

  it('newest gives the id alone', async () => {
    const backend = await startBackend(answer({ id: '1700000000000-3' }));
    expect(await php(`return $postroom->newest();`, backend)).toBe('1700000000000-3');
  });

  it('isOnline is true from one connection on', async () => {
    const [none, one] = [0, 1].map(connections => answer({ user: '42', connections, rooms: [] }));
    const backend = await startBackend(none as Reply, one as Reply);
    const code = `return [$postroom->isOnline(42), $postroom->isOnline('42')];`;
    expect(await php(code, backend)).toEqual([false, true]);
    expect(backend.requests.map(({ url }) => url)).toEqual(['/users/42', '/users/42']);
  });
});

describeWith(['php'], 'PHP client: with a server', () => {
  it('removeConnection closes that one, removeUser the others of the user, nobody else', async () => {
    const server = await startServer();
    const [one, two, other] = await Promise.all(
      ['42/ü', '42/ü', '43'].map(async sub => {
        const client = await connect(server.ws(`/ws?token=${token({ sub })}`));
        return { client, connection: String((await client.nextOf('welcome')).connection) };
      }),
    );

    const told = await php(
      `return [
        $postroom->removeConnection('${one?.connection}'),
        $postroom->removeConnection('${one?.connection}'),
        $postroom->removeUser('42/ü'),
        $postroom->toEveryone('still here')['connections'],
      ];`,
      server,
    );

    expect(told).toEqual([{ removed: 1 }, { removed: 0 }, { removed: 1 }, 1]);
    expect((await one?.client.closed)?.code).toBe(4503);
    expect((await two?.client.closed)?.code).toBe(4503);
    expect(await other?.client.next()).toMatchObject({ event: 'still here' });
  });
});

describeWith(['php'], 'PHP client: lists', () => {
  it.each([
    ['roomsPage()', '/rooms?limit=100', 'rooms'],
    [
      'roomsPage("ü/&a b", "x=1&y +", 7)',
      '/rooms?prefix=%C3%BC%2F%26a%20b&limit=7&after=x%3D1%26y%20%2B',
      'rooms',
    ],
    ['roomsPage("0")', '/rooms?prefix=0&limit=100', 'rooms'],
    ['membersPage("a/b", "9")', '/rooms/a%2Fb/members?limit=100&after=9', 'members'],
    ['connectionsPage()', '/connections?limit=100', 'connections'],
    ['connectionsPage(["user" => 42])', '/connections?user=42&limit=100', 'connections'],
    [
      'connectionsPage(["room" => "a/b", "user" => null], "n", 1000)',
      '/connections?room=a%2Fb&limit=1000&after=n',
      'connections',
    ],
  ])('a page: %s is GET %s', async (call, url, field) => {
    const body = { [field]: [{ some: 'row' }], next: 'n2', partial: true };
    const backend = await startBackend(answer(body));
    const code = `ini_set('arg_separator.output', '&amp;'); return $postroom->${call};`;
    expect(await php(code, backend)).toEqual(body);
    expect(backend.requests).toHaveLength(1);
    expect(backend.requests[0]).toMatchObject({ method: 'GET', url, text: '' });
  });

  it.each([
    ['rooms("a.")', 'rooms', '/rooms?prefix=a.&limit=1000'],
    ['members("a/b")', 'members', '/rooms/a%2Fb/members?limit=1000'],
    ['connections(["room" => "a", "user" => 7])', 'connections', '/connections?room=a&user=7&limit=1000'],
  ])('%s walks all pages, and numbers the rows through', async (call, field, url) => {
    const backend = await startBackend(
      answer({ [field]: [{ n: 1 }, { n: 2 }], next: 'p/2' }),
      answer({ [field]: [], next: 'p3' }),
      answer({ [field]: [{ n: 3 }], next: null }),
    );
    const told = await php(
      `$rows = $postroom->${call}; return [iterator_to_array($rows), $rows->getReturn()];`,
      backend,
    );
    expect(told).toEqual([[{ n: 1 }, { n: 2 }, { n: 3 }], false]);
    expect(backend.requests.map(request => request.url)).toEqual([
      url,
      `${url}&after=p%2F2`,
      `${url}&after=p3`,
    ]);
  });

  it('the next page is asked for when it is needed', async () => {
    const backend = await startBackend(rooms(['a', 'b'], 'n'), rooms(['c'], null));
    const told = await php(
      `$unused = $postroom->rooms();
       foreach ($postroom->rooms() as $room) {
           if ($room['room'] === 'b') break;
       }
       return $room;`,
      backend,
    );
    expect(told).toMatchObject({ room: 'b' });
    expect(backend.requests).toHaveLength(1);
  });

  it('a loop may ask for other things meanwhile', async () => {
    const backend = await startBackend(
      rooms(['a', 'b'], null),
      answer({ members: [{ user: '1', info: { name: 'Li' }, connections: 1 }], next: null }),
      answer({ members: [{ user: '2', info: null, connections: 1 }], next: null }),
    );
    const told = await php(
      `$names = [];
       foreach ($postroom->rooms() as $room) {
           foreach ($postroom->members($room['room']) as $member) {
               $names[] = $room['room'] . $member['user'] . ($member['info']['name'] ?? '');
           }
       }
       return $names;`,
      backend,
    );
    expect(told).toEqual(['a1Li', 'b2']);
  });

  it.each([
    ['the first', [{ partial: true }, {}]],
    ['the last', [{}, { partial: true }]],
  ])('after the walk, getReturn() tells that %s page was partial', async (_which, [first, last]) => {
    const backend = await startBackend(rooms(['a'], 'n', first), rooms(['b'], null, last));
    const told = await php(
      `$rooms = $postroom->rooms(); return [count(iterator_to_array($rooms)), $rooms->getReturn()];`,
      backend,
    );
    expect(told).toEqual([2, true]);
  });

  it('a page that fails throws within the walk, after the rows before it', async () => {
    const backend = await startBackend(rooms(['a'], 'n'), problem(401, 'unauthorized'));
    const [seen, told] = await php<[string[], Told]>(
      `$rooms = $postroom->rooms();
       $seen = [];
       return [&$seen, told(function () use ($rooms, &$seen) {
           foreach ($rooms as $room) $seen[] = $room['room'];
       })];`,
      backend,
    );
    expect(seen).toEqual(['a']);
    expect(told).toMatchObject({ code: 'unauthorized', status: 401 });
  });

  it('a page that failed for a moment is asked for again: no row twice, none lost', async () => {
    const backend = await startBackend(
      rooms(['a'], 'n'),
      'cut',
      problem(503, 'unavailable'),
      rooms(['b'], null),
    );
    const told = await php(`return array_column(iterator_to_array($postroom->rooms()), 'room');`, backend);
    expect(told).toEqual(['a', 'b']);
  });
});

describeWith(['php'], 'PHP client: online', () => {
  it('asks for the users as text, whatever their keys; counts stand under either form of an id', async () => {
    const backend = await startBackend(answer({ online: { 42: 2, li: 0 } }));
    const told = await php(
      `$online = $postroom->online([5 => 42, 'x' => 'li'])['online'];
       return [$online['42'], $online[42], $online['li'], array_keys($online)];`,
      backend,
    );
    expect(told).toEqual([2, 2, 0, [42, 'li']]);
    expect(backend.requests).toHaveLength(1);
    expect(backend.requests[0]).toMatchObject({
      method: 'POST',
      url: '/users/online',
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      body: { users: ['42', 'li'] },
    });
  });

  it('splits more than 1,000 and joins the answers, integer keys too', async () => {
    const backend = await startBackend(
      answer({ online: { 1: 1, 1000: 0 } }),
      answer({ online: { 1001: 3 }, partial: true }),
      answer({ online: { 2001: 4 } }),
    );
    const told = await php(
      `$answer = $postroom->online(range(1, 2001)); $answer['online'] = (object) $answer['online']; return $answer;`,
      backend,
    );
    expect(told).toEqual({ online: { 1: 1, 1000: 0, 1001: 3, 2001: 4 }, partial: true });
    const asked = backend.requests.map(({ body }) => [body.users.length, body.users[0]]);
    expect(asked).toEqual([
      [1000, '1'],
      [1000, '1001'],
      [1, '2001'],
    ]);
  });

  it('1,000 are one request, none is no request', async () => {
    const backend = await startBackend(answer({ online: {} }));
    const code = `$postroom->online(range(1, 1000)); return $postroom->online([]);`;
    expect(await php(code, backend)).toEqual({ online: [] });
    expect(backend.requests).toHaveLength(1);
  });

  it('all parts share one budget', async () => {
    const backend = await startBackend('silence', answer({ online: {} }), 'silence');
    const { ms, told } = await php<Timed>(`return timed(fn () => $postroom->online(range(1, 1001)));`, {
      url: backend.url,
      options: `['timeoutMs' => 2000, 'budgetMs' => 3000, 'retries' => 9, 'backoffMs' => 0]`,
    });
    expect(told.code).toBe('timeout');
    // A budget for each part would make it 5000.
    expect(ms).toBeLessThan(3000 + SLACK_MS);
  });

  it('a part that fails fails the call', async () => {
    const backend = await startBackend(answer({ online: { 1: 1 } }), problem(400, 'invalid_request'));
    const told = await php<Told>(`return told(fn () => $postroom->online(range(1, 1001)));`, backend);
    expect(told).toMatchObject({ code: 'invalid_request', status: 400 });
  });

  it('an id that is not UTF-8 is told, and nothing is asked', async () => {
    const backend = await startBackend(answer({ online: {} }));
    const told = await php<Told>(`return told(fn () => $postroom->online(['a', "\\xff"]));`, backend);
    expect(told).toMatchObject({ code: 'invalid_data', errors: [{ path: 'users[1]' }] });
    expect(backend.requests).toHaveLength(0);
  });
});

describeWith(['php'], 'PHP client: a connection that is not there', () => {
  it('connection is null, joinConnection and leaveConnection reach 0; no failure, whatever onError says', async () => {
    const backend = await startBackend(problem(404, 'unknown_connection'));
    const told = await php(
      `return [
        $postroom->connection('1.2'), $postroom->joinConnection('1.2', 'a'), $postroom->leaveConnection('1.2', 'a'),
      ];`,
      { url: backend.url, options: `['onError' => function () { exit('called'); }]` },
    );
    expect(told).toEqual([null, { connections: 0 }, { connections: 0 }]);
    expect(backend.requests).toHaveLength(3);
  });

  it('a 404 of another server is not taken for that', async () => {
    const backend = await startBackend({ status: 404, body: '<h1>Not Found</h1>' });
    const told = await php<Told[]>(
      `return [
        told(fn () => $postroom->connection('1.2')), told(fn () => $postroom->joinConnection('1.2', 'a')),
      ];`,
      backend,
    );
    expect(told.map(({ code, status }) => [code, status])).toEqual([
      ['unexpected_answer', 404],
      ['unexpected_answer', 404],
    ]);
  });

  it.each(['user(42)', "connection('1.2')", "leaveConnection('1.2', 'a')"])(
    'a 404 for another reason is a failure of %s: an old server, or a side without the control API',
    async call => {
      const backend = await startBackend(problem(404, 'not_found'));
      const told = await php<Told>(`return told(fn () => $postroom->${call});`, backend);
      expect(told).toMatchObject({ code: 'not_found', status: 404, temporary: false });
      expect(backend.requests).toHaveLength(1);
    },
  );
});

describeWith(['php'], 'PHP client: when the control API fails', () => {
  it.each(CALLS)('%s is tried again, the same request', async (call, method, url, body) => {
    const backend = await startBackend('cut', problem(503, 'unavailable'), answer(body));
    expect(await php(`return $postroom->${call};`, backend)).toEqual(body);
    expect(backend.requests.map(request => [request.method, request.url])).toEqual(
      Array(3).fill([method, url]),
    );
  });

  it('a server that is down: told as with notifications, and then left alone for restMs', async () => {
    const backend = await startBackend('cut');
    const [first, ...further] = await php<Told[]>(
      `return [
        told(fn () => $postroom->user(42)),
        told(fn () => $postroom->newest()),
        told(fn () => iterator_to_array($postroom->rooms())),
        told(fn () => $postroom->online([1])),
        told(fn () => $postroom->toRoom('a', 'e')),
      ];`,
      { url: backend.url, options: `['retries' => 0, 'restMs' => 60000]` },
    );
    expect(first).toMatchObject({
      class: 'PostroomConnectionException',
      code: 'connection_failed',
      temporary: true,
    });
    for (const told of further) expect(told.detail).toMatch(/^Not tried, because a moment ago/);
    expect(further).toHaveLength(4);
    expect(backend.requests).toHaveLength(1);
  });

  it('log: a line each that names the request; null, false or an end returned', async () => {
    const outcome = await runClient(
      `$rooms = $postroom->rooms('a');
       return [
         $postroom->room("a\\nb"), $postroom->isOnline(42), $postroom->online([1]), $postroom->newest(),
         $postroom->connection('1.2'), $postroom->join('', 'a'), $postroom->connectionsPage(['rom' => 'a']),
         iterator_to_array($rooms), $rooms->getReturn(),
       ];`,
      { url: await closedPort(), options: `['onError' => 'log', 'retries' => 0, 'restMs' => 0]` },
    );
    expect(outcome).toMatchObject({ code: 0, stdout: '[null,false,null,null,null,null,null,[],true]' });
    expect(outcome.stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^postroom: GET \/rooms\/a%0Ab failed: .*\(connection_failed\)$/),
      expect.stringMatching(/^postroom: GET \/users\/42 failed: .*\(connection_failed\)$/),
      expect.stringMatching(/^postroom: POST \/users\/online failed: .*\(connection_failed\)$/),
      expect.stringMatching(/^postroom: GET \/newest failed: .*\(connection_failed\)$/),
      expect.stringMatching(/^postroom: GET \/connections\/1\.2 failed: .*\(connection_failed\)$/),
      expect.stringMatching(
        /^postroom: PUT \/users\/{user}\/rooms\/{room} failed: user must .*\(invalid_request\)$/,
      ),
      expect.stringMatching(/^postroom: GET \/connections failed: .* no filter rom; .*\(invalid_request\)$/),
      expect.stringMatching(/^postroom: GET \/rooms failed: .*\(connection_failed\)$/),
    ]);
    expect(outcome.stderr).not.toContain(KEY);
  });

  it.each([
    ['room("")', 'room'],
    ['user("")', 'user'],
    ['user(null)', 'user'],
    ['user(1.5)', 'user'],
    ['user(["42"])', 'user'],
    ['connection("")', 'connection'],
    ['join("", "a")', 'user'],
    ['leave(42, "")', 'room'],
    ['joinConnection("", "a")', 'connection'],
    ['removeConnection("")', 'connection'],
    ['removeUser("")', 'user'],
    ['removeRoom("")', 'room'],
    ['revoke(false)', 'user'],
    ['membersPage("")', 'room'],
    ['connectionsPage(["user" => ""])', 'user'],
    ['connectionsPage(["room" => ["a"]])', 'room'],
    ['connectionsPage(["usr" => 42])', 'filter usr'],
    ['online([1, null])', 'users'],
  ])('%s is refused before anything is asked', async (call, named) => {
    const backend = await startBackend(answer({ next: null }));
    const told = await php<Told>(`return told(fn () => $postroom->${call});`, backend);
    expect(told).toMatchObject({
      class: 'PostroomException',
      code: 'invalid_request',
      status: 0,
      temporary: false,
    });
    expect(told.detail).toContain(named);
    expect(backend.requests).toHaveLength(0);
  });

  it.each([
    ['room("a")', { room: 'a' }],
    ['removeUser(42)', { connections: 1 }],
    ['newest()', {}],
    ['online([1])', { online: 1 }],
    ['roomsPage()', { next: null }],
    ['roomsPage()', { rooms: [] }],
    ['roomsPage()', { rooms: [], next: 7 }],
    ['roomsPage("", "n")', { rooms: [], next: 'n' }],
  ])('%s answered with %j: that was not Postroom', async (call, body) => {
    const backend = await startBackend(answer(body));
    const told = await php<Told>(`return told(fn () => $postroom->${call});`, backend);
    expect(told).toMatchObject({ code: 'unexpected_answer', status: 200 });
  });
});

describeWith(['php'], 'PHP client: with the real server', () => {
  it('every method answers what is so', async () => {
    const server = await startServer();
    const claims = { sub: '42', rooms: ['presence.chat'], info: { name: 'Li' } };
    const client = await connect(server.ws(`/?room=presence.chat&token=${token(claims)}`));
    const { connection: id } = await client.next();
    const { id: newest } = await server.notify({ room: 'presence.chat', event: 'e' });
    const told = await php<Record<string, unknown>>(
      `
      $all = fn (Generator $walk) => iterator_to_array($walk);
      return [
        'user' => $postroom->user(42),
        'isOnline' => [$postroom->isOnline(42), $postroom->isOnline('online')],
        'online' => $postroom->online([42, 43]),
        'room' => $postroom->room('presence.chat'),
        'rooms' => $all($postroom->rooms('presence.')),
        'members' => $all($postroom->members('presence.chat')),
        'connections' => array_column($all($postroom->connections(['user' => 42])), 'connection'),
        'connection' => $postroom->connection('${id}')['rooms'],
        'none' => $postroom->connection('1.2'),
        'newest' => $postroom->newest(),
        'join' => $postroom->join(42, 'a/b ü'),
        'joinConnection' => $postroom->joinConnection('${id}', 'c'),
        'leaveConnection' => $postroom->leaveConnection('${id}', 'c'),
        'leave' => $postroom->leave(42, 'a/b ü'),
        'removeConnection' => $postroom->removeConnection('1.2'),
        'removeRoom' => $postroom->removeRoom('nobody'),
        'removeUser' => $postroom->removeUser(43),
        'revoke' => $postroom->revoke(42),
      ];`.replaceAll('a/b ü', 'a/ü'),
      { url: server.url },
    );
    expect(told).toEqual({
      user: { user: '42', connections: 1, rooms: ['presence.chat'] },
      isOnline: [true, false],
      online: { online: { 42: 1, 43: 0 } },
      room: { room: 'presence.chat', connections: 1, users: 1, newest },
      rooms: [{ room: 'presence.chat', connections: 1, users: 1 }],
      members: [{ user: '42', info: { name: 'Li' }, connections: 1 }],
      connections: [id],
      connection: ['presence.chat'],
      none: null,
      newest,
      join: { connections: 1 },
      joinConnection: { connections: 1 },
      leaveConnection: { connections: 1 },
      leave: { connections: 1 },
      removeConnection: { removed: 0 },
      removeRoom: { removed: 0 },
      removeUser: { removed: 0 },
      revoke: { removed: 1 },
    });
    await client.nextOf('subscribed');
    for (const room of ['a/ü', 'c']) expect(await client.nextOf('subscribed')).toMatchObject({ room });
    expect(await client.closed).toMatchObject({ code: 4503 });
  });
});
