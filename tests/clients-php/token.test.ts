import { expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET, startServer } from '../support/server.js';
import { php } from './php.js';

const options = `['jwtSecret' => '${JWT_SECRET}']`;

describeWith(['php'], 'PHP client: tokens', () => {
  it('one opens a private room that it allows, no other, and stands for its user', async () => {
    const server = await startServer();
    const token = await php<string>(`return $postroom->token(42, ['orders.*'], 60);`, {
      url: server.url,
      options,
    });

    const client = await connect(server.ws(`/ws?rooms=orders.7,invoices.7`), [
      'postroom.v1',
      `bearer.${token}`,
    ]);

    expect(await client.next()).toMatchObject({ type: 'welcome', user: '42' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'orders.7' });
    expect(await client.next()).toMatchObject({ type: 'error', code: 'forbidden', room: 'invoices.7' });
    await server.notify({ room: 'orders.7', event: 'e', data: 1 });
    expect(await client.next()).toMatchObject({ room: 'orders.7', event: 'e' });
  });

  it('one without a user opens its rooms', async () => {
    const server = await startServer();
    const token = await php<string>(`return $postroom->token(null, array_filter(['', 'Zoë/ä']));`, {
      url: server.url,
      options,
    });
    const client = await connect(server.ws(`/ws?room=${encodeURIComponent('Zoë/ä')}&token=${token}`));
    expect(await client.next()).toMatchObject({ type: 'welcome', user: null });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'Zoë/ä' });
  });

  it('holds for as long as it says, in whole seconds from now', async () => {
    const token = await php<string>(`return $postroom->token('7', [], 90);`, { options });
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    expect(claims).toEqual({ sub: '7', rooms: [], iat: expect.any(Number), exp: claims.iat + 90 });
    expect(Math.abs(claims.iat - Date.now() / 1000)).toBeLessThan(10);
  });

  it.each([
    ['an array with names', `['name' => 'Zoë/ü', 'tags' => ['a']]`, '{"name":"Zoë/ü","tags":["a"]}'],
    ['an object', `(object) ['n' => 1.0]`, '{"n":1.0}'],
    ['an empty array', '[]', '{}'],
    ['1,024 bytes of JSON', `['n' => str_repeat('ü', 508)]`, `{"n":"${'ü'.repeat(508)}"}`],
  ])('carries what others see of the user: %s', async (_what, info, json) => {
    const token = await php<string>(`return $postroom->token(42, ['a'], 60, ${info});`, { options });
    const claims = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString();
    expect(claims).toContain(`"info":${json}}`);
    expect(JSON.parse(claims)).toMatchObject({ sub: '42', rooms: ['a'], exp: expect.any(Number) });
  });

  it('says where the browser may publish', async () => {
    const token = await php<string>(
      `return $postroom->token(42, [], 60, null, array_filter(['', 'chat.*']));`,
      { options },
    );
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    expect(claims).toMatchObject({ sub: '42', rooms: [], publish: ['chat.*'] });
    const server = await startServer();
    const client = await connect(server.ws(`/ws?token=${token}`));
    expect(await client.next()).toMatchObject({ type: 'welcome', user: '42' });
  });

  it('a server takes one with info', async () => {
    const server = await startServer();
    const token = await php<string>(`return $postroom->token(42, [], 60, ['name' => 'Li']);`, { options });
    const client = await connect(server.ws(`/ws?token=${token}`));
    expect(await client.next()).toMatchObject({ type: 'welcome', user: '42' });
  });

  it('one signed with another secret is not taken', async () => {
    const server = await startServer();
    const token = await php<string>(`return $postroom->token(42);`, {
      options: `['jwtSecret' => 'another secret, which also has 32 bytes']`,
    });
    const client = await connect(server.ws(`/ws?token=${token}`));
    expect((await client.closed).code).toBe(4501);
  });

  it.each([
    ['no secret', `[]`, `42`, /jwtSecret/],
    ['a secret of 31 bytes', `['jwtSecret' => str_repeat('x', 31)]`, `42`, /32 bytes/],
    ['false, as getenv() says', `['jwtSecret' => false]`, `42`, /jwtSecret/],
    ['an empty user', options, `''`, /user/],
    ['a float for a user', options, `1.5`, /user/],
    ['rooms that are no strings', options, `42, [7]`, /rooms/],
    ['rooms to publish into that are no strings', options, `42, [], 60, null, [7]`, /rooms/],
    ['rooms that are not UTF-8', options, `42, ["\\xff"]`, /UTF-8/],
    ['info that is a list', options, `42, [], 60, ['Li']`, /info/],
    ['info that is text', options, `42, [], 60, '{"name":"Li"}'`, /info/],
    ['info of 1,025 bytes', options, `42, [], 60, ['n' => str_repeat('x', 1017)]`, /up to 1024 bytes/],
    ['info that is not UTF-8', options, `42, [], 60, ['n' => "\\xff"]`, /info.*UTF-8/],
    ['a time that has passed', options, `42, [], 0`, /1 second/],
    [
      'a time instead of seconds',
      options,
      `42, [], time() + 60`,
      /seconds from now, not a time; did you mean (60|59)\?/,
    ],
    ['more than 366 days', options, `42, [], PHP_INT_MAX`, /not a time; 366 days at most/],
  ])('refused, whatever onError says: %s', async (_what, given, args, message) => {
    const told = await php<string>(
      `try { return $postroom->token(${args}); } catch (InvalidArgumentException $e) { return $e->getMessage(); }`,
      { options: `${given} + ['onError' => 'log']` },
    );
    expect(told).toMatch(message);
    expect(told).not.toMatch(/xxx/);
  });

  it('a secret of 32 bytes is enough', async () => {
    const token = await php<string>(`return $postroom->token(42);`, {
      options: `['jwtSecret' => str_repeat('x', 32)]`,
    });
    expect(token.split('.')).toHaveLength(3);
  });
});
