import { expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { describeWith } from '../support/requires.js';
import { KEY, startServer } from '../support/server.js';
import { closedPort, problem, RECEIPT, startBackend, startGreeter, startProxy } from './backend.js';
import { php, runClient, type Timed, type Told } from './php.js';

const send = `$postroom->toRoom('a', 'e', 1)`;
const attempt = `return timed(fn () => ${send});`;
/** A busy machine may add so much to a time that PHP measures. */
const SLACK_MS = 1500;

describeWith(['php'], 'PHP client: no answer', () => {
  it('a server that is down: tried again, then told as a connection failure, within the budget', async () => {
    const { ms, told } = await php<Timed>(attempt, {
      url: await closedPort(),
      options: `['backoffMs' => 100, 'retries' => 2]`,
    });
    expect(told).toMatchObject({
      class: 'PostroomConnectionException',
      code: 'connection_failed',
      status: 0,
      temporary: true,
    });
    expect(told.detail).toMatch(/http:\/\/127\.0\.0\.1:\d+ cannot be reached: .*(refused|connect)/);
    // Two waits, of 50 to 100 and 100 to 200 ms.
    expect(ms).toBeGreaterThanOrEqual(149);
    expect(ms).toBeLessThan(2000 + SLACK_MS);
  });

  it('the budget ends the tries, however many are left', async () => {
    const { ms, told } = await php<Timed>(attempt, {
      url: await closedPort(),
      options: `['budgetMs' => 300, 'retries' => 1000000]`,
    });
    expect(told.code).toBe('connection_failed');
    expect(ms).toBeLessThan(300 + SLACK_MS);
  });

  it('one that never answers: each try ends with timeoutMs, and carries the same key', async () => {
    const backend = await startBackend('silence');
    const { ms, told } = await php<Timed>(attempt, {
      url: backend.url,
      options: `['timeoutMs' => 400, 'retries' => 1, 'backoffMs' => 0]`,
    });
    expect(told).toMatchObject({ class: 'PostroomConnectionException', code: 'timeout', temporary: true });
    expect(ms).toBeGreaterThanOrEqual(799);
    expect(ms).toBeLessThan(800 + SLACK_MS);
    expect(backend.requests).toHaveLength(2);
    expect(backend.requests[0]?.text).toBe(backend.requests[1]?.text);
  });

  it('the budget cuts a try short', async () => {
    const backend = await startBackend('silence');
    const { ms, told } = await php<Timed>(attempt, {
      url: backend.url,
      options: `['timeoutMs' => 60000, 'budgetMs' => 400]`,
    });
    expect(told.code).toBe('timeout');
    expect(ms).toBeLessThan(400 + SLACK_MS);
    expect(backend.requests).toHaveLength(1);
  });

  it('by default a try ends after a second', async () => {
    const backend = await startBackend('silence');
    const { ms } = await php<Timed>(attempt, { url: backend.url, options: `['retries' => 0]` });
    expect(ms).toBeGreaterThanOrEqual(999);
    expect(ms).toBeLessThan(1000 + SLACK_MS);
  });

  it('a connection that breaks after the request was taken: tried again, delivered once', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/ws?room=public.a'));
    await client.nextOf('subscribed');
    const proxy = await startProxy(server, n => n === 0);

    const answer = await php<{ id: string }>(`return $postroom->toRoom('public.a', 'once', 1);`, proxy);

    expect(proxy.requests).toHaveLength(2);
    expect(answer).toMatchObject({ connections: 0, duplicate: true });
    expect(await client.next()).toMatchObject({ event: 'once', id: answer.id });
    await client.quiet();
  });

  it('so does a batch, item by item', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/ws?room=public.a'));
    await client.nextOf('subscribed');
    const proxy = await startProxy(server, n => n === 0);

    const results = await php(
      `return $postroom->batch([
        ['room' => 'public.a', 'event' => 'one'],
        ['room' => 'public.a', 'event' => 'two'],
      ]);`,
      proxy,
    );

    expect(results).toMatchObject([{ duplicate: true }, { duplicate: true }]);
    expect(await client.next()).toMatchObject({ event: 'one' });
    expect(await client.next()).toMatchObject({ event: 'two' });
    await client.quiet();
  });

  it('after a failed call, further ones fail at once for restMs: the server is not asked', async () => {
    const backend = await startBackend('cut');
    const [first, second] = await php<[Told, Told]>(
      `return [told(fn () => ${send}), told(fn () => ${send})];`,
      { url: backend.url, options: `['retries' => 0, 'restMs' => 60000]` },
    );
    expect(backend.requests).toHaveLength(1);
    expect(second).toMatchObject({ class: first.class, code: first.code, temporary: true });
    expect(second.detail).toBe(`Not tried, because a moment ago (restMs): ${first.detail}`);
  });

  it('with restMs 0 they ask again', async () => {
    const backend = await startBackend('cut', RECEIPT);
    const [, second] = await php<unknown[]>(`return [told(fn () => ${send}), ${send}];`, {
      url: backend.url,
      options: `['retries' => 0, 'restMs' => 0]`,
    });
    expect(second).toEqual(RECEIPT.body);
  });

  it('what would fail the same way again is not tried again: a server that speaks no HTTP', async () => {
    const backend = await startGreeter('SSH-2.0-OpenSSH_9.2\r\n');
    const told = await php<Told>(`return told(fn () => ${send});`, backend);
    expect(told).toMatchObject({
      class: 'PostroomConnectionException',
      code: 'connection_failed',
      temporary: false,
    });
    expect(backend.connections).toBe(1);
  });

  it('a connection that does not open ends with connectTimeoutMs', async () => {
    // Nobody accepts, and the queue of waiting connections is full: further ones get no answer.
    const { ms, told } = await php<Timed>(
      `$queue = stream_context_create(['socket' => ['backlog' => 0]]);
       $flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
       $server = stream_socket_server('tcp://127.0.0.1:0', $errno, $error, $flags, $queue);
       $address = 'tcp://' . stream_socket_get_name($server, false);
       $async = STREAM_CLIENT_CONNECT | STREAM_CLIENT_ASYNC_CONNECT;
       for ($waiting = []; count($waiting) < 4;) {
           $waiting[] = stream_socket_client($address, $errno, $error, 1, $async);
       }
       $postroom = new Postroom(str_replace('tcp:', 'http:', $address), 'k', [
           'connectTimeoutMs' => 150, 'timeoutMs' => 60000, 'budgetMs' => 60000, 'retries' => 0,
       ]);
       ${attempt}`,
    );
    expect(told).toMatchObject({ class: 'PostroomConnectionException', code: 'timeout', temporary: true });
    expect(ms).toBeGreaterThanOrEqual(149);
    expect(ms).toBeLessThan(150 + SLACK_MS);
  });
});

describeWith(['php'], 'PHP client: refused', () => {
  it('503 with Retry-After: waits that long, then sends the same key; the answer is as if nothing were', async () => {
    const backend = await startBackend(problem(503, 'unavailable', { 'retry-after': '1' }), RECEIPT);
    const { ms, told } = await php<Timed>(attempt, { url: backend.url, options: `['budgetMs' => 10000]` });
    expect(told).toEqual({ id: '1-0', connections: 3, duplicate: false });
    expect(ms).toBeGreaterThanOrEqual(1000);
    const [first, second, ...more] = backend.requests;
    expect(more).toEqual([]);
    expect(first?.body.key).toMatch(/^[0-9a-f]{32}$/);
    expect(second?.text).toBe(first?.text);
  });

  it.each([
    [408, 'request_timeout'],
    [429, 'rate_limited'],
    [500, 'internal'],
    [502, 'bad_gateway'],
    [503, 'unavailable'],
  ])('%d without Retry-After: tried again after the backoff', async (status, code) => {
    const backend = await startBackend(problem(status, code), RECEIPT);
    expect(await php(`return ${send};`, backend)).toMatchObject({ id: '1-0' });
    expect(backend.requests[1]?.text).toBe(backend.requests[0]?.text);
    expect(backend.requests).toHaveLength(2);
  });

  it.each([
    ['seconds', '60'],
    ['a date', new Date(Date.now() + 60_000).toUTCString()],
  ])(
    '429 with a Retry-After (%s) that does not fit into the budget: told at once',
    async (_form, retryAfter) => {
      const backend = await startBackend(
        problem(429, 'rate_limited', { 'retry-after': retryAfter }),
        RECEIPT,
      );
      const { ms, told } = await php<Timed>(attempt, backend);
      expect(told).toMatchObject({
        class: 'PostroomException',
        code: 'rate_limited',
        status: 429,
        detail: 'said rate_limited',
        message: 'said rate_limited (rate_limited, 429)',
        temporary: true,
      });
      expect(told.retryAfter).toBeGreaterThan(40);
      expect(told.retryAfter).toBeLessThanOrEqual(60);
      expect(ms).toBeLessThan(SLACK_MS);
      expect(backend.requests).toHaveLength(1);
    },
  );

  it('as often as retries says, and no more', async () => {
    const backend = await startBackend(problem(503, 'unavailable'));
    const told = await php<Told>(`return told(fn () => ${send});`, {
      url: backend.url,
      options: `['retries' => 3, 'backoffMs' => 1]`,
    });
    expect(told).toMatchObject({ code: 'unavailable', status: 503 });
    expect(backend.requests).toHaveLength(4);
  });

  it.each([
    [400, 'invalid_notification'],
    [401, 'unauthorized'],
    [404, 'not_found'],
    [413, 'payload_too_large'],
    [415, 'unsupported_media_type'],
  ])('%d is told at once, and does not keep the next call from its try', async (status, code) => {
    const backend = await startBackend(problem(status, code), RECEIPT);
    const [told, next] = await php<[Told, unknown]>(`return [told(fn () => ${send}), ${send}];`, backend);
    expect(told).toMatchObject({ class: 'PostroomException', code, status, temporary: false });
    expect(next).toMatchObject({ id: '1-0' });
    expect(backend.requests).toHaveLength(2);
  });

  it('the exception carries what the server says, field by field', async () => {
    const server = await startServer();
    const told = await php<Told>(
      `return told(fn () => $postroom->send(['room' => 'no spaces', 'event' => 'e', 'ttl' => -1]));`,
      server,
    );
    expect(told).toMatchObject({ code: 'invalid_notification', status: 400 });
    expect(told.errors.map(({ path }) => path)).toEqual(['room', 'ttl']);
    expect(told.detail).toContain(told.errors[0]?.message);
  });

  it('a wrong key: unauthorized', async () => {
    const server = await startServer();
    const told = await php<Told>(`return told(fn () => ${send});`, { url: server.url, key: 'wrong' });
    expect(told).toMatchObject({ code: 'unauthorized', status: 401 });
  });

  it.each([
    ['a page', 200, '<h1>It works</h1>', false],
    ['JSON of something else', 200, '{"ok":true}', false],
    ['too few results', 200, '{"results":[]}', false],
    ['a redirect', 301, '', false],
    ['a proxy without its server', 502, '<h1>Bad gateway</h1>', true],
  ])('%s: says that this is not Postroom', async (_what, status, body, temporary) => {
    const backend = await startBackend({ status, body, headers: { location: 'http://127.0.0.1:1/' } });
    const [one, batch] = await php<[Told, Told]>(
      `return [told(fn () => ${send}), told(fn () => $postroom->batch([['room' => 'a', 'event' => 'e']]))];`,
      { url: backend.url, options: `['retries' => 0, 'restMs' => 0]` },
    );
    for (const told of [one, batch]) {
      expect(told).toMatchObject({
        class: 'PostroomException',
        code: 'unexpected_answer',
        status,
        temporary,
      });
      expect(told.detail).toContain(`${backend.url} answered ${status}`);
    }
  });
});

describeWith(['php'], 'PHP client: onError', () => {
  it('log: one line to the error log, null returned, the key not in it', async () => {
    const server = await startServer();
    const outcome = await runClient(
      `return [
        $postroom->toRoom("no spaces", "order\\npaid", 1),
        $postroom->toRoom('a', 'e', "\\xff"),
        $postroom->toRoom('a', 'e', 1, ['room' => 'b']),
        $postroom->batch([1, 2]),
      ];`,
      { url: server.url, options: `['onError' => 'log']` },
    );
    expect(outcome).toMatchObject({ code: 0, stdout: '[null,null,null,null]' });
    const lines = outcome.stderr.trimEnd().split('\n');
    expect(lines).toEqual([
      expect.stringMatching(
        /^postroom: order paid was not sent: room must be .*\(invalid_notification, 400\)$/,
      ),
      expect.stringMatching(/^postroom: e was not sent: data: .*UTF-8.*\(invalid_data\)$/),
      expect.stringMatching(/^postroom: e was not sent: .*\(invalid_notification\)$/),
      expect.stringMatching(/^postroom: a batch of 2 was not sent: .*\[0\].*\(invalid_notification\)$/),
    ]);
    expect(outcome.stderr).not.toContain(KEY);
  });

  it('log: a server that is down or refuses the key', async () => {
    const server = await startServer();
    const wrong = 'a-wrong-key-that-nobody-may-see-1234';
    for (const url of [await closedPort(), server.url]) {
      const outcome = await runClient(`return ${send};`, {
        url,
        key: wrong,
        options: `['onError' => 'log']`,
      });
      expect(outcome).toMatchObject({ code: 0, stdout: 'null' });
      expect(outcome.stderr).toMatch(
        /^postroom: e was not sent: .*\((connection_failed|unauthorized, 401)\)\n$/,
      );
      expect(outcome.stderr).not.toContain(wrong);
    }
  });

  it('a callable gets the exception', async () => {
    const seen = await php(`global $seen; return [${send}, $seen->getProblemCode(), get_class($seen)];`, {
      url: await closedPort(),
      options: `['onError' => function ($error) { $GLOBALS['seen'] = $error; }]`,
    });
    expect(seen).toEqual([null, 'connection_failed', 'PostroomConnectionException']);
  });
});

describeWith(['php'], 'PHP client: what can never work is refused by the constructor', () => {
  it.each([
    ['an option that is none', `'http://h', 'k', ['timeout' => 5]`, /timeout\. There are connectTimeoutMs/],
    ['a time of 0', `'http://h', 'k', ['timeoutMs' => 0]`, /timeoutMs must be an integer from 1/],
    ['a time in text', `'http://h', 'k', ['budgetMs' => '5']`, /budgetMs/],
    ['fewer than no retries', `'http://h', 'k', ['retries' => -1]`, /retries must be an integer from 0/],
    ['onError that cannot be called', `'http://h', 'k', ['onError' => 'thrwo']`, /onError/],
    ['an empty socket', `'http://h', 'k', ['socket' => '']`, /socket/],
    ['no URL', `''`, /URL/],
    ['the address of the WebSocket', `'ws://127.0.0.1:8080/ws'`, /URL/],
    ['beside a secret', `'http://h', 'k', ['jwtSecret' => 'a secret', 'sockets' => 1]`, /sockets/],
    ['a URL with a password', `'http://me:hush@h'`, /without user/],
    ['a key on two lines', `'http://h', "secret\\r\\nX-Injected: 1"`, /the key/],
  ])('%s', async (_what, args, message) => {
    const told = await php<string>(
      `ini_set('zend.exception_ignore_args', '0');
       try { new Postroom(${args}); return 'taken'; } catch (InvalidArgumentException $e) {
           // Before 8.2, PHP has no way to keep an argument out of a stack trace.
           return $e->getMessage() . (PHP_VERSION_ID < 80200 ? '' : print_r($e->getTrace(), true));
       }`,
    );
    expect(told).toMatch(message);
    expect(told).not.toMatch(/secret|hush/);
  });

  it('neither dumps nor serialized forms show the key or the secret', async () => {
    const dumps = await php<string>(
      `ob_start();
       var_dump($postroom); print_r($postroom);
       try { serialize($postroom); } catch (LogicException $e) { echo $e; }
       return ob_get_clean();`,
      { options: `['jwtSecret' => 'a-secret-that-nobody-may-see-12345']` },
    );
    expect(dumps).toContain('http://127.0.0.1:9');
    expect(dumps).toContain('cannot be serialized');
    expect(dumps).not.toContain(KEY);
    expect(dumps).not.toContain('nobody-may-see');
  });
});
