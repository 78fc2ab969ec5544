import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import type { ConsoleMessage, Page } from 'playwright-core';
import { Webhook } from 'standardwebhooks';
import { freePort, newDirectory } from '../support/broker.js';
import { openPage, openSite } from '../support/browser.js';
import { connect, type TestClient, token } from '../support/client.js';
import { runPhp } from '../support/commands.js';
import { type PhpSite, servePhp } from '../support/php-site.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { snippet } from '../support/readme.js';
import { WEBHOOK_SECRET } from '../support/receiver.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET, KEY } from '../support/server.js';

/** A PHP script that is the WEBHOOK_URL or the CALL_URL of a real server. */
async function start(script: string, setting: 'WEBHOOK_URL' | 'CALL_URL') {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const php = await servePhp(script, { POSTROOM_URL: url, POSTROOM_KEY: KEY, WEBHOOK_SECRET });
  const server = await startProcess({
    PORT: String(port),
    NOTIFY_KEYS: KEY,
    JWT_SECRET,
    WEBHOOK_SECRET,
    [setting]: php.url,
  });
  return { php, server };
}

function enter(server: ServerProcess, claims: object, query = ''): Promise<TestClient> {
  return connect(`ws://127.0.0.1:${server.port}/ws?${query}&token=${token(claims)}`);
}

async function refusesUnsigned(php: PhpSite, status: number): Promise<void> {
  const answer = await fetch(php.url, { method: 'POST', body: '{"events":[{"type":"forged"}]}' });
  expect(answer.status).toBe(status);
  expect(php.output()).not.toContain('forged');
}

describeWith(['php'], 'in PHP', () => {
  it('the php-webhook snippet of README.md hears of those who come and go', async () => {
    const { php, server } = await start(snippet('php-webhook'), 'WEBHOOK_URL');
    const client = await enter(server, { sub: '42', rooms: ['a'] }, 'room=a');
    await php.logged(/room\.occupied a/);
    client.socket.close();
    await php.logged(/connection\.closed 42/);
    const heard = [...php.output().matchAll(/\] ([a-z]+\.[a-z]+ \S+)$/gm)].map(([, line]) => line);
    expect(heard.slice(0, 2)).toEqual(['connection.opened 42', 'room.joined 42']);
    await refusesUnsigned(php, 401);
    expect(php.output()).not.toMatch(/Warning|Notice|Deprecated|Fatal/);
  });

  it('the php-webhook snippet of README.md takes nothing if it has no secret', async () => {
    const php = await servePhp(snippet('php-webhook'));
    await refusesUnsigned(php, 401);
  });

  it('the php-webhook-client snippet of README.md greets a user', async () => {
    const { php, server } = await start(snippet('php-webhook-client'), 'WEBHOOK_URL');
    const visitor = await connect(`ws://127.0.0.1:${server.port}/ws`);
    const client = await enter(server, { sub: '42' });
    expect(await client.nextOf('notification')).toMatchObject({
      event: 'hello',
      data: { since: expect.stringMatching(/^2/) },
    });
    await visitor.nextOf('welcome');
    await visitor.quiet();
    expect(php.output()).not.toMatch(/Warning|Notice|Deprecated|Fatal/);
    await refusesUnsigned(php, 500);
  });

  it('the "after" of docs/ratchet.md hears of connections, messages and ends', async () => {
    const { php, server } = await start(snippet('after', 'docs/ratchet.md'), 'WEBHOOK_URL');
    const client = await enter(server, { sub: '42', publish: ['chat'] });
    const { connection } = await client.nextOf('welcome');
    client.send({ type: 'publish', room: 'chat', event: 'say', data: { text: 'Hello' }, ref: 1 });
    await php.logged(`${connection} has come`);
    await php.logged(`${connection} says {"text":"Hello"}`);
    client.socket.close();
    await php.logged(`${connection} has left: client`);
    expect(php.output()).not.toMatch(/Warning|Notice|Deprecated|Fatal/);
  });

  it('the php-chat-token snippet of README.md lets a page publish', async () => {
    const { stdout, stderr } = await runPhp(snippet('php-chat-token').replace('/path/to/postroom/', ''), {
      POSTROOM_URL: 'http://127.0.0.1:9',
      POSTROOM_KEY: KEY,
      JWT_SECRET,
    });
    expect(stderr).toBe('');
    const server = await startProcess({ NOTIFY_KEYS: KEY, JWT_SECRET });
    const client = await connect(`ws://127.0.0.1:${server.port}/ws?room=chat.1&token=${stdout}`);
    await client.nextOf('subscribed');
    client.send({ type: 'publish', room: 'chat.1', event: 'typing', ref: 1 });
    expect(await client.next()).toMatchObject({ type: 'published', ref: 1 });
  });

  it('the php-call snippet of README.md answers a call, and only a signed one', async () => {
    const { php, server } = await start(snippet('php-call'), 'CALL_URL');
    const client = await enter(server, { sub: '42' });
    await client.nextOf('welcome');
    client.send({ type: 'call', event: 'cart.add', data: { article: 7 }, ref: 1 });
    expect(await client.next()).toEqual({ type: 'result', ref: 1, data: { added: 7, by: '42' } });
    await refusesUnsigned(php, 500);
  });
});

describeWith(['php', 'php-sqlite'], 'in PHP, with a database', () => {
  it('the "once" of docs/ratchet.md keeps each visit once', async () => {
    const file = join(newDirectory('visits'), 'visits.sqlite');
    const php = await servePhp(snippet('once', 'docs/ratchet.md'), {
      POSTROOM_URL: 'http://127.0.0.1:9',
      POSTROOM_KEY: KEY,
      WEBHOOK_SECRET,
      DATABASE_URL: `sqlite:${file}`,
    });
    const visit = (id: string, user: string | null) => ({ id, type: 'connection.closed', user, seconds: 7 });
    const body = JSON.stringify({
      events: [visit('1', '42'), { id: '2', type: 'room.vacated', room: 'a' }, visit('3', null)],
    });
    const now = new Date();
    const headers = {
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
      'webhook-signature': new Webhook(WEBHOOK_SECRET).sign('msg_1', now, body),
    };
    for (const _ of ['first', 'again'])
      expect((await fetch(php.url, { method: 'POST', headers, body })).status).toBe(200);
    const { stdout } = await runPhp(
      `<?php echo json_encode((new PDO(getenv('DSN')))->query('SELECT * FROM visits')->fetchAll(PDO::FETCH_NUM));`,
      { DSN: `sqlite:${file}` },
    );
    expect(JSON.parse(stdout)).toEqual([
      ['1', '42', 7],
      ['3', null, 7],
    ]);
    expect(php.output()).not.toMatch(/Warning|Notice|Deprecated|Fatal/);
  });
});

describeWith(['chromium'], 'in a browser', () => {
  it('the browser-publish snippet of README.md shows who is typing', async () => {
    const server = await startProcess({ JWT_SECRET });
    const open = async (user: string) => {
      const page = await openPage();
      await page.route('**/chat-token/', route =>
        route.fulfill({ body: token({ sub: user, rooms: ['chat.*'], publish: ['chat.*'] }) }),
      );
      await page.goto(await openSite(pageOf('browser-publish', server)));
      await page.waitForFunction('room.state === "open"');
      return page;
    };
    const li = await open('42');
    const bo = await open('43');
    const heard = logged(bo);
    await li.locator('input').pressSequentially('x');
    expect((await heard).text()).toBe('42 is typing');
    expect([...li.faults, ...bo.faults]).toEqual([]);
  });
});

describeWith(['php', 'chromium'], 'in a browser, with PHP', () => {
  it('the browser-call snippet of README.md shows what PHP answered', async () => {
    const { server } = await start(snippet('php-call'), 'CALL_URL');
    const page = await openPage();
    const site = await openSite(pageOf('browser-call', server));
    await page.goto(site);
    await page.waitForFunction('room.state === "open"');
    const [message] = await Promise.all([logged(page), page.click('button')]);
    expect(await message.args()[0]?.jsonValue()).toEqual({ added: 7, by: null });
    expect(page.faults).toEqual([]);
  });
});

function pageOf(name: string, server: ServerProcess): string {
  const html = snippet(name).replaceAll('127.0.0.1:8080', `127.0.0.1:${server.port}`);
  return `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">${html}`;
}

function logged(page: Page): Promise<ConsoleMessage> {
  return page.waitForEvent('console');
}
