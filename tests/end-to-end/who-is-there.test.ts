import { expect, it } from '@jest/globals';
import { openPage, openSite } from '../support/browser.js';
import { connect, type TestClient, token } from '../support/client.js';
import { runPhp, runShell } from '../support/commands.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { snippet } from '../support/readme.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET } from '../support/server.js';

function publisher(server: ServerProcess): Record<string, string> {
  return { POSTROOM_URL: server.url, POSTROOM_KEY: server.key };
}

function inCheckout(script: string): string {
  return script.replace('/path/to/postroom/', '');
}

async function enter(server: ServerProcess, rooms: string, claims: object): Promise<TestClient> {
  const client = await connect(`ws://127.0.0.1:${server.port}/ws?rooms=${rooms}&token=${token(claims)}`);
  for (const _ of rooms.split(',')) await client.nextOf('subscribed');
  return client;
}

it('the control snippet of README.md asks, moves and throws out', async () => {
  const server = await startProcess({ JWT_SECRET });
  const client = await enter(server, 'public.orders', { sub: '42', rooms: [] });
  const { code, stdout, stderr } = await runShell(snippet('control'), publisher(server));
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const answers = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  expect(answers).toEqual([
    { user: '42', connections: 1, rooms: ['public.orders'] },
    { online: { 42: 1, 43: 0 } },
    { rooms: [{ room: 'public.orders', connections: 1, users: 1 }], next: null },
    { members: [{ user: '42', info: null, connections: 1 }], next: null },
    { connections: [expect.objectContaining({ user: '42', state: 'live' })], next: null },
    { connections: 1 },
    { connections: 1 },
    { removed: 1 },
  ]);
  expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'orders.7' });
  expect(await client.next()).toMatchObject({ type: 'unsubscribed', room: 'orders.7' });
  expect(await client.closed).toMatchObject({ code: 4503 });
});

describeWith(['php'], 'in PHP', () => {
  it('the php-online snippet of README.md says who is there', async () => {
    const server = await startProcess({ JWT_SECRET });
    const script = inCheckout(snippet('php-online'));
    expect(await runPhp(script, publisher(server))).toMatchObject({
      code: 0,
      stdout: 'User 42 gets a mail.\n',
      stderr: '',
    });
    const rooms = ['presence.*'];
    await enter(server, 'presence.office', { sub: '42', rooms, info: { name: 'Li' } });
    await enter(server, 'presence.office', { sub: '43', rooms });
    expect(await runPhp(script, publisher(server))).toMatchObject({ stdout: 'Li\n43\n', stderr: '' });
  });

  it('the php-presence-token snippet of README.md gives a token for the room', async () => {
    const server = await startProcess({ JWT_SECRET });
    const script = inCheckout(snippet('php-presence-token'));
    const { stdout, stderr } = await runPhp(script, { ...publisher(server), JWT_SECRET });
    expect(stderr).toBe('');
    const client = await connect(`ws://127.0.0.1:${server.port}/ws?room=presence.office&token=${stdout}`);
    expect(await client.nextOf('subscribed')).toMatchObject({
      members: [{ user: '42', info: { name: 'User 42' } }],
    });
  });
});

describeWith(['chromium'], 'in a browser', () => {
  it('the browser-presence snippet of README.md shows who comes and goes', async () => {
    const server = await startProcess({ JWT_SECRET, PRESENCE_GRACE_SECONDS: '0' });
    const script = snippet('browser-presence').replaceAll('127.0.0.1:8080', `127.0.0.1:${server.port}`);
    const site = await openSite(
      `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">${script}`,
    );
    const page = await openPage();
    const claims = { sub: '42', rooms: ['presence.*'], info: { name: 'Li' } };
    await page.route('**/presence-token/', route => route.fulfill({ body: token(claims) }));
    const logged = () => page.waitForEvent('console');
    const [first] = await Promise.all([logged(), page.goto(site)]);
    expect(await first.args()[0]?.jsonValue()).toEqual(['Li']);
    const came = logged();
    const other = await enter(server, 'presence.office', { sub: '43', rooms: ['presence.*'] });
    expect(await (await came).args()[0]?.jsonValue()).toEqual(['Li', '43']);
    const went = logged();
    other.socket.close();
    expect(await (await went).args()[0]?.jsonValue()).toEqual(['Li']);
    expect(page.faults).toEqual([]);
  });
});
