import { expect, it } from '@jest/globals';
import { connect, type TestClient, token } from '../support/client.js';
import { describeWith } from '../support/requires.js';
import { KEY, startServer } from '../support/server.js';
import { problem, RECEIPT, type Reply, startBackend, startProxy } from './backend.js';
import { php, runClient, type Timed, type Told } from './php.js';

const LATER = { scheduled: '000001-0a', at: '2026-12-24T17:00:00.000Z', duplicate: false };

function answer(body: object, status = 200): Reply {
  return { status, body };
}

/** A user's connection, with a room. */
async function listen() {
  const server = await startServer();
  const client = await connect(server.ws(`/ws?room=public.a&token=${token({ sub: '42' })}`));
  await client.nextOf('subscribed');
  return { server, client };
}

async function acknowledge(client: TestClient): Promise<void> {
  client.send({ type: 'ack', id: (await client.nextOf('notification')).id });
}

describeWith(['php'], 'PHP client: the fields at, delay, ack, wait and collapse', () => {
  it.each([
    [
      'new DateTimeImmutable("2026-12-24 18:00", new DateTimeZone("+01:00"))',
      '2026-12-24T18:00:00.000+01:00',
    ],
    ['new DateTime("2026-12-24T17:00:00.25Z")', '2026-12-24T17:00:00.250+00:00'],
    ['1798131600', 1798131600],
    ['1798131600.5', 1798131600.5],
    ['"2026-12-24T18:00:00+01:00"', '2026-12-24T18:00:00+01:00'],
  ])('at: %s is sent as %j', async (code, sent) => {
    const backend = await startBackend(answer(LATER, 202));
    expect(await php(`return $postroom->toUser(42, 'e', null, ['at' => ${code}]);`, backend)).toEqual(LATER);
    expect(backend.requests[0]?.body).toMatchObject({ user: '42', event: 'e', at: sent });
  });

  it('a date in a batch becomes text too', async () => {
    const backend = await startBackend(answer({ results: [LATER] }));
    const date = 'new DateTimeImmutable("2026-12-24T17:00:00Z")';
    await php(`return $postroom->batch([['everyone' => true, 'event' => 'e', 'at' => ${date}]]);`, backend);
    expect(backend.requests[0]?.body).toMatchObject([{ at: '2026-12-24T17:00:00.000+00:00' }]);
  });

  it('the others are sent as they are; what is null is left out', async () => {
    const backend = await startBackend(RECEIPT);
    const options = `['ack' => 60, 'wait' => 0, 'delay' => null, 'at' => null, 'collapse' => 'c']`;
    await php(`return $postroom->toRoom('a', 'e', 1, ${options});`, backend);
    expect(backend.requests[0]?.body).toEqual({
      room: 'a',
      event: 'e',
      data: 1,
      ack: 60,
      wait: 0,
      collapse: 'c',
      key: expect.any(String),
    });
  });
});

describeWith(['php'], 'PHP client: wait', () => {
  it('takes longer than timeoutMs and budgetMs, and no longer than it says on top of them', async () => {
    const backend = await startBackend('silence');
    const told = await php<Timed>(
      `return timed(fn () => $postroom->toUser(42, 'e', null, ['ack' => 60, 'wait' => 1]));`,
      { ...backend, options: `['timeoutMs' => 300, 'budgetMs' => 400, 'restMs' => 0]` },
    );
    expect(told.told).toMatchObject({ code: 'timeout', temporary: true });
    expect(told.ms).toBeGreaterThanOrEqual(1300);
    expect(told.ms).toBeLessThan(2900);
  });

  it('of nonsense waits no longer than otherwise', async () => {
    const backend = await startBackend('silence');
    for (const wait of [`'soon'`, '-5', '[]']) {
      const told = await php<Timed>(
        `return timed(fn () => $postroom->toUser(42, 'e', null, ['ack' => 60, 'wait' => ${wait}]));`,
        { ...backend, options: `['timeoutMs' => 300, 'budgetMs' => 300, 'retries' => 0]` },
      );
      expect(told.told.code).toBe('timeout');
      expect(told.ms).toBeLessThan(1800);
    }
  });

  it('brings how many have acknowledged, also later than timeoutMs', async () => {
    const { server, client } = await listen();
    const other = await connect(server.ws(`/ws?token=${token({ sub: '42' })}`));
    await other.nextOf('welcome');
    const told = php<Record<string, unknown>>(
      `return $postroom->toUser(42, 'e', null, ['ack' => 60, 'wait' => 2]);`,
      { url: server.url, options: `['timeoutMs' => 500, 'budgetMs' => 1000]` },
    );
    await acknowledge(client);
    expect(await told).toEqual({
      id: expect.any(String),
      connections: 2,
      acknowledged: 1,
      duplicate: false,
    });
  });

  it('whose answer is lost is sent once; the second try tells what is known by then', async () => {
    const { server, client } = await listen();
    const proxy = await startProxy(server, n => n === 0);
    const told = php<object>(`return $postroom->toUser(42, 'e', null, ['ack' => 60, 'wait' => 30]);`, proxy);
    await acknowledge(client);
    expect(await told).toMatchObject({ duplicate: true, connections: 0, acknowledged: 1 });
    await client.quiet();
  });
});

describeWith(['php'], 'PHP client: status, cancel and scheduled', () => {
  it.each([
    ['status("1-0")', 'GET', '/notifications/1-0', { id: '1-0' }, { id: '1-0' }],
    ['status("1/2", 42)', 'GET', '/notifications/1%2F2?user=42', { id: '1/2' }, { id: '1/2' }],
    ['status("1-0", "li&x")', 'GET', '/notifications/1-0?user=li%26x', { id: '1-0' }, { id: '1-0' }],
    ['cancel("0-a")', 'DELETE', '/notifications/0-a', { cancelled: true }, true],
    [
      'scheduledPage()',
      'GET',
      '/notifications?scheduled=true&limit=100',
      { scheduled: [], next: null },
      { scheduled: [], next: null },
    ],
    [
      'scheduledPage("0-a", 5)',
      'GET',
      '/notifications?scheduled=true&limit=5&after=0-a',
      { scheduled: [], next: null },
      { scheduled: [], next: null },
    ],
  ])('%s is %s %s', async (call, method, url, body, result) => {
    const backend = await startBackend(answer(body));
    expect(await php(`return $postroom->${call};`, backend)).toEqual(result);
    expect(backend.requests).toMatchObject([{ method, url, text: '' }]);
  });

  it.each([
    ['status("1-0")', null],
    ['cancel("0-a")', false],
  ])('%s is %j if the server does not know it', async (call, result) => {
    const backend = await startBackend(problem(404, 'not_found'));
    expect(await php(`return $postroom->${call};`, backend)).toBe(result);
    expect(backend.requests).toHaveLength(1);
  });

  it.each([
    ['status("")', 'id'],
    ['status("1-0", "")', 'user'],
    ['cancel("")', 'id'],
  ])('%s is refused before anything is asked', async (call, named) => {
    const backend = await startBackend(answer({}));
    const told = await php<Told>(`return told(fn () => $postroom->${call});`, backend);
    expect(told).toMatchObject({ code: 'invalid_request', status: 0 });
    expect(told.detail).toContain(named);
    expect(backend.requests).toHaveLength(0);
  });

  it.each(['status("1-0")', 'cancel("0-a")', 'scheduledPage()'])(
    '%s throws what the server refused',
    async call => {
      const backend = await startBackend(problem(401, 'unauthorized'));
      const told = await php<Told>(`return told(fn () => $postroom->${call});`, backend);
      expect(told).toMatchObject({ code: 'unauthorized', status: 401 });
    },
  );

  it('with onError, status() is null, cancel() is false, and a walk ends', async () => {
    const outcome = await runClient(
      `return [$postroom->status('1-0'), $postroom->cancel('0-a'), iterator_to_array($postroom->scheduled())];`,
      { options: `['onError' => 'log', 'retries' => 0, 'restMs' => 0]` },
    );
    expect(outcome).toMatchObject({ code: 0, stdout: '[null,false,[]]' });
    expect(outcome.stderr.trimEnd().split('\n')).toHaveLength(3);
  });

  it('scheduled() walks through all pages', async () => {
    const row = (scheduled: string) => ({ scheduled, at: LATER.at, notification: { event: scheduled } });
    const backend = await startBackend(
      answer({ scheduled: [row('a'), row('b')], next: 'b' }),
      answer({ scheduled: [row('c')], next: null }),
    );
    const told = await php(
      `return array_column(iterator_to_array($postroom->scheduled()), 'scheduled');`,
      backend,
    );
    expect(told).toEqual(['a', 'b', 'c']);
    expect(backend.requests.map(({ url }) => url)).toEqual([
      '/notifications?scheduled=true&limit=1000',
      '/notifications?scheduled=true&limit=1000&after=b',
    ]);
  });
});

describeWith(['php'], 'PHP client: later and acknowledged, with the real server', () => {
  it('what waits is listed, taken back once, and comes at its moment', async () => {
    const { server, client } = await listen();
    const told = await php<Record<string, unknown>>(
      `
      $far = $postroom->toUser(42, 'far', ['n' => 1], ['at' => new DateTimeImmutable('+1 day'), 'key' => 'k']);
      $again = $postroom->toUser(42, 'far', null, ['delay' => 60, 'key' => 'k']);
      $second = $postroom->toUser(42, 'second', null, ['delay' => 3600]);
      $rows = iterator_to_array($postroom->scheduled());
      $page = $postroom->scheduledPage(null, 1);
      $soon = $postroom->toRoom('public.a', 'soon', null, ['at' => microtime(true) + 0.2]);
      $past = $postroom->toRoom('public.a', 'past', null, ['at' => time() - 5]);
      return [
        'far' => $far,
        'again' => [$again['scheduled'] === $far['scheduled'], $again['duplicate']],
        'events' => array_column(array_column($rows, 'notification'), 'event'),
        'pages' => [count($page['scheduled']), $page['next'] === $second['scheduled']],
        'cancel' => [$postroom->cancel($far['scheduled']), $postroom->cancel($far['scheduled']), $postroom->cancel('x')],
        'soon' => array_keys($soon),
        'past' => array_keys($past),
      ];`,
      { url: server.url },
    );
    expect(told).toEqual({
      far: { scheduled: expect.any(String), at: expect.stringMatching(/Z$/), duplicate: false },
      again: [true, true],
      events: ['second', 'far'],
      pages: [1, true],
      cancel: [true, false, false],
      soon: ['scheduled', 'at', 'duplicate'],
      past: ['id', 'connections', 'duplicate'],
    });
    const heard = [await client.nextOf('notification'), await client.nextOf('notification')];
    expect(heard.map(({ event }) => event).sort()).toEqual(['past', 'soon']);
  });

  it('in a batch each has its own form of answer', async () => {
    const { server } = await listen();
    const told = await php<object>(
      `return array_map('array_keys', $postroom->batch([
        'now' => ['room' => 'public.a', 'event' => 'e'],
        'later' => ['room' => 'public.a', 'event' => 'e', 'delay' => 60],
        'waits' => ['room' => 'public.a', 'event' => 'e', 'ack' => 5, 'wait' => 5],
      ]));`,
      { url: server.url },
    );
    expect(told).toEqual({
      now: ['id', 'connections', 'duplicate'],
      later: ['scheduled', 'at', 'duplicate'],
      waits: ['error'],
    });
  });

  it('status tells what became of it, and why a user has it', async () => {
    const { server, client } = await listen();
    const { id } = await server.notify({ users: ['42', '7'], event: 'e', ack: 60 });
    await acknowledge(client);
    await client.quiet();
    const told = await php<Record<string, unknown>>(
      `return [
        'all' => $postroom->status('${id}'),
        'li' => $postroom->status('${id}', 42)['user'],
        'jo' => $postroom->status('${id}', '7')['user']['state'],
        'none' => $postroom->status('1-1'),
      ];`,
      { url: server.url },
    );
    expect(told).toMatchObject({
      all: { id, event: 'e', connections: 1, acknowledged: 1, missed: [] },
      li: { user: '42', state: 'acknowledged', detail: expect.any(String) },
      jo: 'not_connected',
      none: null,
    });
    expect(told.all).not.toHaveProperty('user');
  });

  it('a wrong field is refused with the sentence of the server', async () => {
    const { server } = await listen();
    const told = await php<Told>(`return told(fn () => $postroom->toUser(42, 'e', null, ['wait' => 5]));`, {
      url: server.url,
      key: KEY,
    });
    expect(told).toMatchObject({ status: 400, detail: expect.stringContaining('wait needs ack') });
  });
});
