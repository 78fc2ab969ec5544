import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET, KEY, startServer } from '../support/server.js';
import { type Reply, startBackend } from './backend.js';
import { clientFolder, clientSnippet, php, runAsItStands } from './php.js';

async function listen(query: string) {
  const server = await startServer();
  const client = await connect(server.ws(`/ws${query}`));
  await client.nextOf('welcome');
  return { server, client };
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

  it('who', async () => {
    const backend = await startBackend(
      reply({ user: '42', connections: 0, rooms: [] }),
      reply({ online: { 7: 2, 42: 0 } }),
      reply({ members: [{ user: '7', info: { name: 'Li' }, connections: 2 }], next: 'n' }),
      reply({ members: [{ user: '8', info: null, connections: 1 }], next: null }),
    );
    expect(await run('who', backend.url)).toEqual({
      code: 0,
      stdout: 'User 42 gets a mail.\nUser 7: 2\nUser 42: 0\n7 Li\n8 ?\n',
      stderr: '',
    });
    expect(backend.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /users/42',
      'POST /users/online',
      'GET /rooms/presence.chat/members?limit=1000',
      'GET /rooms/presence.chat/members?limit=1000&after=n',
    ]);
  });

  it('move', async () => {
    const backend = await startBackend(
      reply({ connections: 2 }),
      reply({ connections: 2 }),
      reply({ removed: 2, partial: true }),
    );
    expect(await run('move', backend.url)).toEqual({
      code: 0,
      stdout: '2 joined\n2 closed; some may be left\n',
      stderr: '',
    });
    expect(backend.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'PUT /users/42/rooms/orders.7',
      'DELETE /users/42/rooms/orders.6',
      'POST /users/42/revoke',
    ]);
  });

  it('page', async () => {
    const backend = await startBackend(reply({ id: '1763856000123-0' }));
    const { stdout, ...outcome } = await run('page', backend.url);
    expect(outcome).toEqual({ code: 0, stderr: '' });
    const { since, token } = JSON.parse(stdout);
    expect(since).toBe('1763856000123-0');
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    expect(claims).toMatchObject({ sub: '42', rooms: ['presence.chat'], info: { name: 'Li' } });
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
