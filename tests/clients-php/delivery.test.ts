import { expect, it } from '@jest/globals';
import { connect, token } from '../support/client.js';
import { describeWith } from '../support/requires.js';
import { startServer, type TestServer } from '../support/server.js';
import { RECEIPT, startBackend } from './backend.js';
import { php, type Told } from './php.js';

interface Receipt {
  id: string;
  connections: number;
  duplicate: boolean;
}

/** A client of user 42 in two rooms, past its first frames. */
async function listener(server: TestServer) {
  const query = `?rooms=public.a,public.b&token=${token({ sub: '42' })}`;
  const client = await connect(server.ws(`/ws${query}`));
  const { connection } = await client.nextOf('welcome');
  await client.nextOf('subscribed');
  await client.nextOf('subscribed');
  return { client, connection: String(connection) };
}

describeWith(['php'], 'PHP client: delivery', () => {
  it('toRoom reaches those who joined, and returns the receipt', async () => {
    const server = await startServer();
    const { client } = await listener(server);

    const answer = await php<Receipt>(
      `return $postroom->toRoom('public.a', 'paid', ['order' => 42]);`,
      server,
    );

    expect(answer).toEqual({ id: expect.stringMatching(/^\d+-\d+$/), connections: 1, duplicate: false });
    expect(await client.next()).toEqual({
      type: 'notification',
      id: answer.id,
      room: 'public.a',
      event: 'paid',
      data: { order: 42 },
    });
  });

  it('toUser takes integers, also those that a JSON number does not hold', async () => {
    const server = await startServer();
    const { client } = await listener(server);
    const large = await connect(server.ws(`/ws?token=${token({ sub: '9007199254740993' })}`));
    await large.nextOf('welcome');

    const answers = await php<Receipt[]>(
      `return [$postroom->toUser(42, 'one', 'x'), $postroom->toUser([42, PHP_INT_MAX, 9007199254740993], 'many')];`,
      server,
    );

    expect(answers.map(answer => answer.connections)).toEqual([1, 2]);
    expect(await client.next()).toMatchObject({ event: 'one', data: 'x' });
    expect(await client.next()).toMatchObject({ event: 'many', data: null });
    expect(await large.next()).toMatchObject({ event: 'many' });
  });

  it('toConnection reaches that one, toEveryone all', async () => {
    const server = await startServer();
    const first = await listener(server);
    const second = await listener(server);

    const answers = await php<Receipt[]>(
      `return [
        $postroom->toConnection('${second.connection}', 'direct', 1),
        $postroom->toConnection(['${first.connection}', '${second.connection}'], 'both', 2),
        $postroom->toEveryone('all', 3),
      ];`,
      server,
    );

    expect(answers.map(answer => answer.connections)).toEqual([1, 2, 2]);
    expect(await second.client.next()).toMatchObject({ event: 'direct', data: 1 });
    for (const { client } of [first, second]) {
      expect(await client.next()).toMatchObject({ event: 'both', data: 2 });
      expect(await client.next()).toMatchObject({ event: 'all', data: 3 });
    }
  });

  it('options are further fields: except, key, ttl and more addresses; null leaves a field out', async () => {
    const server = await startServer();
    const cause = await listener(server);
    const other = await listener(server);

    const answers = await php<Receipt[]>(
      `$options = ['except' => '${cause.connection}', 'key' => 'k1', 'ttl' => 0, 'user' => null];
       return [
         $postroom->toRoom('public.a', 'once', 1, $options),
         $postroom->toRoom('public.a', 'once', 1, $options),
         $postroom->toRoom('nobody.here', 'wide', 2, ['except' => null, 'rooms' => [3 => 'public.b']]),
       ];`,
      server,
    );

    expect(answers.map(answer => [answer.connections, answer.duplicate])).toEqual([
      [1, false],
      [0, true],
      [2, false],
    ]);
    expect(answers[1]?.id).toBe(answers[0]?.id);
    expect(await other.client.next()).toMatchObject({ event: 'once' });
    expect(await other.client.next()).toMatchObject({ event: 'wide', room: 'public.b' });
    expect(await cause.client.next()).toMatchObject({ event: 'wide' });
  });

  it('an option that repeats an argument is refused, not ignored', async () => {
    const told = await php<Told>(
      `return told(fn () => $postroom->toRoom('a', 'e', 1, ['room' => 'b', 'data' => 2, 'ttl' => 3]));`,
    );
    expect(told).toMatchObject({ class: 'PostroomException', code: 'invalid_notification', status: 0 });
    expect(told.detail).toMatch(/room, data$/);
  });

  it('data arrives as PHP encodes it, to the letter', async () => {
    const server = await startServer();
    const { client } = await listener(server);

    await php(
      `$postroom->toRoom('public.a', 'e', [
        'whole' => 1.0, 'int' => PHP_INT_MAX, 'text' => 'Zoë 🎈 a/b', 'list' => [], 'map' => new stdClass(),
      ]);
      return null;`,
      server,
    );

    expect(await client.nextText()).toContain(
      '"data":{"whole":1.0,"int":9223372036854775807,"text":"Zoë 🎈 a/b","list":[],"map":{}}',
    );
  });

  it('send takes the fields of POST /notify; a list belongs to batch', async () => {
    const server = await startServer();
    const { client } = await listener(server);

    const [answer, told] = await php<[Receipt, Told]>(
      `return [
        $postroom->send(['rooms' => array_filter(['', 'public.a', 'public.b']), 'user' => '42', 'event' => 'e']),
        told(fn () => $postroom->send([['room' => 'public.a', 'event' => 'lost']])),
      ];`,
      server,
    );

    expect(answer.connections).toBe(1);
    expect(told.detail).toMatch(/batch\(\)/);
    expect(await client.next()).toMatchObject({ event: 'e', data: null });
    await client.quiet();
  });

  it('batch returns results in order and under the keys given; a bad item carries its error', async () => {
    const server = await startServer();
    const { client } = await listener(server);

    const results = await php<Record<string, Receipt & { error: Told }>>(
      `return $postroom->batch([
        'first' => ['room' => 'public.a', 'event' => 'one'],
        'bad' => ['rom' => 'public.a', 'event' => 'two'],
        'last' => ['room' => 'public.b', 'event' => 'three'],
      ]);`,
      server,
    );

    expect(Object.keys(results)).toEqual(['first', 'bad', 'last']);
    expect(results.first).toMatchObject({ connections: 1, duplicate: false });
    expect(results.bad).toEqual({
      error: expect.objectContaining({
        code: 'invalid_notification',
        status: 400,
        detail: expect.stringContaining('did you mean room'),
      }),
    });
    expect(results.last).toMatchObject({ connections: 1 });
    expect(await client.next()).toMatchObject({ event: 'one', id: results.first?.id });
    expect(await client.next()).toMatchObject({ event: 'three', id: results.last?.id });
    await client.quiet();
  });

  it('a list comes back as a list, an empty one without a request', async () => {
    const backend = await startBackend({ status: 200, body: { results: [{ id: '1-0' }, { id: '2-0' }] } });
    const results = await php(
      `$one = ['room' => 'a', 'event' => 'e'];
       return [$postroom->batch([]), $postroom->batch([$one, $one])];`,
      backend,
    );
    expect(results).toEqual([[], [{ id: '1-0' }, { id: '2-0' }]]);
    expect(backend.requests).toHaveLength(1);
  });

  it('each notification carries a random key of its own, unless one is given', async () => {
    const backend = await startBackend(RECEIPT, RECEIPT, { status: 200, body: { results: [{}, {}, {}] } });
    await php(
      `$one = ['room' => 'a', 'event' => 'e'];
       $postroom->send($one);
       $postroom->send($one + ['key' => null]);
       $postroom->batch([$one, $one + ['key' => 'mine'], $one]);
       return null;`,
      backend,
    );
    const keys: string[] = backend.requests.flatMap(({ body }) => body).map(({ key }) => key);
    expect(keys.map(key => (key === 'mine' ? key : /^[0-9a-f]{32}$/.test(key)))).toEqual([
      true,
      true,
      true,
      'mine',
      true,
    ]);
    expect(new Set(keys).size).toBe(5);
  });
});

describeWith(['php'], 'PHP client: what JSON cannot carry', () => {
  it.each([
    ['bytes that are not UTF-8', `['customer' => ['name' => "Zo\\xeb"]]`, 'data.customer.name', /UTF-8/],
    ['an infinite number', `[1, [INF]]`, 'data[1][0]', /Inf/],
    ['a resource', `['file' => fopen('php://memory', 'r')]`, 'data.file', /not supported/],
    ['bytes within an object', `(object) ['a' => (object) ['b' => "\\xff"]]`, 'data.a.b', /UTF-8/],
    ['a circle', `(function () { $a = new stdClass(); $a->a = $a; return $a; })()`, 'data', /ecursion/],
  ])('%s: says where, and sends nothing', async (_what, data, path, reason) => {
    const backend = await startBackend(RECEIPT);
    const told = await php<Told>(
      `$data = ${data}; return told(fn () => $postroom->toRoom('a', 'e', $data));`,
      backend,
    );
    expect(told).toMatchObject({ class: 'PostroomException', code: 'invalid_data', status: 0 });
    expect(told.errors[0]?.path.slice(0, path.length)).toBe(path);
    expect(told.detail).toMatch(reason);
    expect(told.temporary).toBe(false);
    expect(backend.requests).toHaveLength(0);
  });

  it('in a batch, also says which one', async () => {
    const told = await php<Told>(
      `return told(fn () => $postroom->batch([['event' => 'e'], ['event' => 'e', 'data' => ['x' => NAN]]]));`,
    );
    expect(told.errors[0]?.path).toBe('[1].data.x');
  });
});
