import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { connect, token as sign } from '../support/client.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET, KEY, startServer, type TestServer } from '../support/server.js';
import { type Reply, startBackend } from './backend.js';
import { clientFolder, clientSnippet, php, runAsItStands } from './php.js';

async function listen(query: string) {
  const server = await startServer();
  const client = await connect(server.ws(`/ws${query}`));
  await client.nextOf('welcome');
  return { server, client };
}

async function enter(server: TestServer, claims: object): Promise<void> {
  const client = await connect(server.ws(`/?room=presence.chat&token=${sign(claims)}`));
  await client.nextOf('subscribed');
}

function run(name: string, url: string, key = KEY) {
  return runAsItStands(clientSnippet(name), { POSTROOM_URL: url, POSTROOM_KEY: key, JWT_SECRET });
}

function reply(body: object): Reply {
  return { status: 200, body };
}

describeWith(['php'], 'clients/php/README.md, as it stands', () => {
  it('send', async () => {
    const { server, client } = await listen('?room=public.orders');
    await client.nextOf('subscribed');
    const outcome = await run('send', server.url);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    const { id, ...frame } = await client.next();
    expect(frame).toMatchObject({ event: 'order.paid', data: { order: 42, total: '19.90' } });
    expect(outcome.stdout).toBe(`${id} went to 1 connections\n`);
  });

  it('batch', async () => {
    const { server, client } = await listen('?room=public.orders');
    await client.nextOf('subscribed');
    const outcome = await run('batch', server.url);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    const { id } = await client.nextOf('notification');
    expect(outcome.stdout).toMatch(new RegExp(`^0: ${id}\n1: \\[1\\]\\.room must be .+\n$`));
  });

  it('errors: a server that refuses, and one that is down', async () => {
    const server = await startServer();
    const { url } = server;
    const refused = await run('errors', url, 'wrong');
    expect(refused).toMatchObject({ code: 0, stderr: '' });
    expect(refused.stdout).toMatch(/^unauthorized 401: /);
    await server.stop();
    const down = await run('errors', url);
    expect(down).toMatchObject({ code: 0, stdout: '' });
    expect(down.stderr).toContain('(connection_failed)');
  });

  it('log: the page goes on, with a server and without', async () => {
    const { server, client } = await listen('?room=public.orders');
    await client.nextOf('subscribed');
    const { url } = server;
    const sent = await run('log', url);
    expect(sent).toEqual({ code: 0, stdout: 'The page goes on.\n', stderr: '' });
    expect(await client.next()).toMatchObject({ event: 'order.paid' });
    await server.stop();
    const down = await run('log', url);
    expect(down).toMatchObject({ code: 0, stdout: 'The page goes on.\n' });
    expect(down.stderr).toMatch(/^postroom: order\.paid was not sent: /);
  });

  it('token', async () => {
    const server = await startServer();
    const { stdout, ...outcome } = await run('token', server.url);
    expect(outcome).toEqual({ code: 0, stderr: '' });
    const client = await connect(server.ws(`/ws?room=orders.1&token=${stdout}`));
    expect(await client.next()).toMatchObject({ type: 'welcome', user: '42' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'orders.1' });
  });

  it('wait', async () => {
    const server = await startServer();
    const client = await connect(server.ws(`/ws?token=${sign({ sub: '42' })}`));
    await client.nextOf('welcome');
    const outcome = run('wait', server.url);
    client.send({ type: 'ack', id: (await client.nextOf('notification')).id });
    expect(await outcome).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^1 of 1 connections have it\nacknowledged: .+\.\n$/),
      stderr: '',
    });
  });

  it('later', async () => {
    const server = await startServer();
    expect(await run('later', server.url)).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^cart\.waits at \d{4}-.*Z\nauction\.ends at \d{4}-.*Z\ntaken back\n$/),
      stderr: '',
    });
  });

  it('who', async () => {
    const server = await startServer();
    const rooms = ['presence.chat'];
    await enter(server, { sub: '7', rooms, info: { name: 'Li' } });
    await enter(server, { sub: '8', rooms });
    expect(await run('who', server.url)).toEqual({
      code: 0,
      stdout: 'User 42 gets a mail.\nUser 7: 1\nUser 42: 0\n7 Li\n8 ?\n',
      stderr: '',
    });
  });

  it('move', async () => {
    const server = await startServer({ PUBLIC_ROOMS: 'orders.6' });
    const client = await connect(server.ws(`/?room=orders.6&token=${sign({ sub: '42' })}`));
    await client.nextOf('subscribed');
    expect(await run('move', server.url)).toEqual({ code: 0, stdout: '1 joined\n1 closed\n', stderr: '' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'orders.7' });
    expect(await client.next()).toMatchObject({ type: 'unsubscribed', room: 'orders.6' });
    expect(await client.closed).toMatchObject({ code: 4503 });
    const backend = await startBackend(
      reply({ connections: 2 }),
      reply({ connections: 2 }),
      reply({ removed: 2, partial: true }),
    );
    expect(await run('move', backend.url)).toMatchObject({
      stdout: '2 joined\n2 closed; some may be left\n',
    });
  });

  it('page', async () => {
    const server = await startServer();
    const { id } = await server.notify({ everyone: true, event: 'before' });
    const { stdout, ...outcome } = await run('page', server.url);
    expect(outcome).toEqual({ code: 0, stderr: '' });
    const { since, token } = JSON.parse(stdout);
    expect(since).toBe(id);
    await server.notify({ user: '42', event: 'after' });
    const client = await connect(server.ws(`/?room=presence.chat&since=${since}&token=${token}`));
    expect(await client.nextOf('subscribed')).toMatchObject({
      members: [{ user: '42', info: { name: 'Li' } }],
    });
    expect(await client.next()).toMatchObject({ event: 'after' });
  });

  it('names every public method', async () => {
    const methods = await php<string[]>(
      `return array_column((new ReflectionClass('Postroom'))->getMethods(ReflectionMethod::IS_PUBLIC), 'name');`,
    );
    const readme = readFileSync(join(clientFolder, 'README.md'), 'utf8');
    const missing = methods.filter(name => !name.startsWith('__') && !readme.includes(`${name}(`));
    expect(missing).toEqual([]);
    expect(methods).toContain('roomsPage');
  });

  it('names every option with its default', async () => {
    const readme = readFileSync(join(clientFolder, 'README.md'), 'utf8');
    const told = [...readme.matchAll(/^\| `(\w+)` \|\s*([^|]*?)\s*\| /gm)].map(([, name, value]) => [
      name,
      (value ?? '').replaceAll('`', ''),
    ]);
    const defaults = await php<Record<string, unknown>>(
      `return (new ReflectionClassConstant('Postroom', 'DEFAULTS'))->getValue();`,
    );
    const expected = Object.entries(defaults).map(([name, value]) => {
      if (value === null) return [name, ''];
      return [name, typeof value === 'string' ? `'${value}'` : Array.isArray(value) ? '[]' : String(value)];
    });
    expect(told).toEqual(expected);
  });
});

describeWith(['php'], 'Postroom.php', () => {
  it('has nothing that PHP 7.4 does not parse or know', async () => {
    const found = await php(
      `$source = file_get_contents(getenv('CLIENT') . 'Postroom.php');
       $newer = ['T_MATCH', 'T_NULLSAFE_OBJECT_OPERATOR', 'T_ENUM', 'T_READONLY'];
       $functions = ['str_contains', 'str_starts_with', 'str_ends_with', 'array_is_list', 'get_debug_type',
           'json_validate', 'array_find', 'array_any', 'array_all'];
       $lines = explode("\\n", $source);
       $found = [];
       foreach (token_get_all($source) as $token) {
           if (!is_array($token)) continue;
           [$id, $text, $line] = $token;
           if (in_array(token_name($id), $newer, true)) $found[] = "$line: $text";
           if (token_name($id) === 'T_STRING' && in_array($text, $functions, true)) $found[] = "$line: $text";
           // To 7.4 it is a comment, up to the end of its line.
           if (token_name($id) === 'T_ATTRIBUTE' && !preg_match('/^\\s*#\\[[^\\]]*\\]( \\/\\/.*)?$/', $lines[$line - 1])) $found[] = "$line: $text";
       }
       if (preg_match('/,\\s*\\)\\s*(:\\s*\\??\\w+\\s*)?\\{/', $source)) $found[] = 'comma after the last parameter';
       if (preg_match('/catch \\([\\w|]+\\)/', $source)) $found[] = 'catch without a variable';
       foreach (['Postroom', 'PostroomException', 'PostroomConnectionException'] as $name) {
           $class = new ReflectionClass($name);
           $types = array_map(fn ($property) => $property->getType(), $class->getProperties());
           foreach ($class->getMethods() as $method) {
               if (!$method->isUserDefined()) continue;
               $types[] = $method->getReturnType();
               foreach ($method->getParameters() as $parameter) {
                   $types[] = $parameter->getType();
                   if ($parameter->isPromoted()) $found[] = "promoted: $parameter";
               }
           }
           foreach (array_filter($types) as $type) {
               $isOld = $type instanceof ReflectionNamedType
                   && !in_array($type->getName(), ['mixed', 'static', 'never', 'null', 'false', 'true'], true);
               if (!$isOld) $found[] = "type $type";
           }
       }
       return $found;`,
    );
    expect(found).toEqual([]);
  });

  it('is what composer.json loads, for the extensions and the version that it needs', () => {
    const composer = JSON.parse(readFileSync(join(clientFolder, 'composer.json'), 'utf8'));
    expect(composer).toMatchObject({
      require: { php: '>=7.4', 'ext-curl': '*', 'ext-json': '*' },
      autoload: { classmap: ['Postroom.php'] },
    });
  });
});
