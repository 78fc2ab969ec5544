import { mkdirSync, readdirSync, readFileSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from '@jest/globals';
import type { Page } from 'playwright-core';
import { Webhook } from 'standardwebhooks';
import { type Broker, freePort, newDirectory, startBroker } from '../support/broker.js';
import { type OpenedPage, openPage, openSite } from '../support/browser.js';
import { connect, token } from '../support/client.js';
import { type Outcome, runPhp } from '../support/commands.js';
import { servePhp } from '../support/php-site.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { snippet } from '../support/readme.js';
import { WEBHOOK_SECRET } from '../support/receiver.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET, KEY } from '../support/server.js';

const folder = fileURLToPath(new URL('../../examples/php', import.meta.url));
const TIMEOUT = 60_000;
const ACK_SECONDS = 2;

/** What PHP's mail() calls instead of sendmail. It keeps each mail in a file, or says that it cannot. */
class Postbox {
  readonly #folder = join(newDirectory('mail'), 'mails');
  readonly #program = `${this.#folder}.sh`;

  constructor() {
    mkdirSync(this.#folder);
    this.works(true);
  }

  /** The setting of PHP. */
  get ini(): string {
    return `sendmail_path=sh ${this.#program}`;
  }

  works(does: boolean): void {
    const [unfinished, done] = [`${this.#folder}/$$`, `${this.#folder}/$$.mail`];
    const keep = `cat > ${unfinished} && mv ${unfinished} ${done}`;
    writeFileSync(this.#program, does ? keep : `touch ${this.#folder}/tried; exit 1`);
  }

  /** The mails so far. */
  get mails(): string[] {
    const files = readdirSync(this.#folder).filter(name => name.endsWith('.mail'));
    return files.map(name => readFileSync(join(this.#folder, name), 'utf8'));
  }

  /** Whether mail() was called while it could not send. */
  get wasTried(): boolean {
    return readdirSync(this.#folder).includes('tried');
  }

  /** Resolves when something is so. It is looked at after each change. */
  async until(isSo: () => boolean): Promise<void> {
    let changed = () => {};
    const watcher = watch(this.#folder, () => changed());
    while (!isSo())
      await new Promise<void>(resolve => {
        changed = resolve;
      });
    watcher.close();
  }

  /** Resolves to the mails when there is one to an address. */
  async mailsWithOneTo(address: string): Promise<string[]> {
    const isThere = () => this.mails.some(mail => mail.includes(`To: ${address}`));
    await this.until(isThere);
    return this.mails;
  }
}

const environment = { POSTROOM_KEY: KEY, WEBHOOK_SECRET, JWT_SECRET };

async function startServer(port: number, webhook: string): Promise<ServerProcess> {
  return startProcess({
    PORT: String(port),
    NOTIFY_KEYS: KEY,
    JWT_SECRET,
    WEBHOOK_SECRET,
    WEBHOOK_URL: webhook,
    WEBHOOK_EVENTS: 'notification.missed',
  });
}

const sites = new Set<Broker>();
afterEach(async () => {
  const printed = [...sites].map(site => site.output()).join('');
  await Promise.all([...sites].map(site => site.stop()));
  sites.clear();
  expect(printed).not.toMatch(/Warning|Notice|Deprecated|Fatal/);
});

/** examples/php/mail, as `php -S` serves it, and the real server. */
async function startSite() {
  const [port, serverPort, postbox] = [await freePort(), await freePort(), new Postbox()];
  const directory = newDirectory('mail-site');
  const ini = ['error_reporting=-1', 'log_errors=1', 'display_errors=0', postbox.ini];
  const site = await startBroker(port, [
    {
      program: 'php',
      args: [...ini.flatMap(setting => ['-d', setting]), '-S', `127.0.0.1:${port}`, '-t', folder],
      directory,
      env: {
        ...environment,
        POSTROOM_URL: `http://127.0.0.1:${serverPort}`,
        DATABASE: join(directory, 'mail.sqlite'),
        ACK_SECONDS: String(ACK_SECONDS),
      },
      ready: /Development Server/,
    },
  ]);
  sites.add(site);
  const url = `http://127.0.0.1:${port}/mail/`;
  await startServer(serverPort, `${url}webhook.php`);
  return { url, postbox };
}

async function enter(url: string, user: string): Promise<OpenedPage> {
  const page = await openPage();
  await page.goto(`${url}?user=${user}`);
  await page.getByText('open', { exact: true }).waitFor();
  return page;
}

async function write(page: Page, to: string, text: string): Promise<void> {
  await page.getByLabel('To').fill(to);
  await page.getByLabel('Text').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
  await page.waitForFunction(`document.querySelector('[name=text]').value === ''`);
}

/** Posts events to a webhook, as the server does. */
function post(url: string, events: object[], secret = WEBHOOK_SECRET): Promise<Response> {
  const body = JSON.stringify({ events });
  const now = new Date();
  const headers = {
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': new Webhook(secret).sign('msg_1', now, body),
  };
  return fetch(url, { method: 'POST', headers, body });
}

function missed(id: string, notification: object = {}, user: string | null = 'bo') {
  const letter = { user: 'bo', event: 'letter', data: { from: 'li', text: `text of ${id}` } };
  return { id, type: 'notification.missed', user, notification: { id: '1-0', ...letter, ...notification } };
}

describeWith(['php', 'php-sqlite', 'chromium'], 'examples/php/mail', () => {
  it(
    'shows a letter to who has the page open, and mails it once to who has not',
    async () => {
      const { url, postbox } = await startSite();
      const li = await enter(url, 'li');
      const bo = await enter(url, 'bo');
      await write(li, 'bo', 'Hello, Zoë <b>');
      await bo.getByText('li: Hello, Zoë <b>').waitFor();
      await write(li, 'zo', 'Are you there, Zoë?');
      // Deadlines pass in order: a mail to bo would have come before.
      const mails = await postbox.mailsWithOneTo('zo@example.com');
      expect(mails).toHaveLength(1);
      expect(mails[0]).toContain('Subject: A letter from li');
      expect(mails[0]).toContain('Are you there, Zo=C3=AB?');

      await bo.close();
      await write(li, 'bo', 'And now?');
      expect(await postbox.mailsWithOneTo('bo@example.com')).toHaveLength(2);
      expect(li.faults).toEqual([]);
    },
    TIMEOUT,
  );

  it(
    'sends the mail later if it cannot be sent now',
    async () => {
      const { url, postbox } = await startSite();
      const li = await enter(url, 'li');
      postbox.works(false);
      await write(li, 'bo', 'one');
      await postbox.until(() => postbox.wasTried);
      expect(postbox.mails).toEqual([]);
      postbox.works(true);
      expect(await postbox.mailsWithOneTo('bo@example.com')).toHaveLength(1);
    },
    TIMEOUT,
  );
});

describeWith(['php', 'php-sqlite'], 'examples/php/mail/webhook.php', () => {
  it('mails once what comes twice, and leaves out what is not its own', async () => {
    const { url, postbox } = await startSite();
    const events = [
      missed('1-0'),
      missed('2-0', { event: 'other' }),
      missed('3-0', {}, null),
      { id: '4-0', type: 'room.vacated', room: 'a' },
      missed('5-0'),
    ];
    const webhook = `${url}webhook.php`;
    const other = `whsec_${Buffer.alloc(32, 8).toString('base64')}`;
    expect((await post(webhook, events, other)).status).toBe(401);
    expect(postbox.mails).toEqual([]);
    for (const _ of ['once', 'and again']) expect((await post(webhook, events)).status).toBe(200);
    expect(postbox.mails).toHaveLength(2);
    for (const id of ['1-0', '5-0'])
      expect(postbox.mails.filter(mail => mail.includes(`text of ${id}`))).toHaveLength(1);
  });
});

/** Runs a snippet of README.md that posts. */
function run(name: string, url: string): Promise<Outcome> {
  const script = snippet(name)
    .replace('/path/to/postroom/', '')
    .replace(/'ack' => \d+/, `'ack' => ${ACK_SECONDS}`);
  return runPhp(script, { ...environment, POSTROOM_URL: url });
}

describeWith(['php', 'php-sqlite', 'chromium'], 'README.md: by WebSocket, otherwise by mail', () => {
  it(
    'the php-ack and php-missed snippets send no mail to a user with a tab, and one to a user without',
    async () => {
      const [port, postbox] = [await freePort(), new Postbox()];
      const url = `http://127.0.0.1:${port}`;
      const database = { DATABASE_URL: `sqlite:${join(newDirectory('mails'), 'mails.sqlite')}` };
      const php = await servePhp(snippet('php-missed'), { ...environment, ...database, POSTROOM_URL: url }, [
        postbox.ini,
      ]);
      await startServer(port, php.url);
      const page = await openPage();
      const client = `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
        <script src="${url}/client.js"></script>
        <script>
          const room = postroom('${url}/ws', { token: () => '${token({ sub: '42' })}' });
          room.on('order.paid', ({ order }) => document.body.append('Order ' + order));
        </script><body></body>`;
      await page.goto(await openSite(client));
      await page.waitForFunction('room.state === "open"');
      expect(await run('php-ack', url)).toMatchObject({ code: 0, stderr: '' });
      await page.getByText('Order 7').waitFor();

      // Another user: deadlines pass in order, so a mail to 42 would have come before.
      const others = snippet('php-ack').replace('toUser(42', 'toUser(43').replace('/path/to/postroom/', '');
      await runPhp(others.replace(/'ack' => \d+/, `'ack' => ${ACK_SECONDS}`), {
        ...environment,
        POSTROOM_URL: url,
      });
      const mails = await postbox.mailsWithOneTo('user-43@example.com');
      expect(mails).toHaveLength(1);
      expect(mails[0]).toContain('Order 7');

      await page.close();
      expect(await run('php-ack', url)).toMatchObject({ code: 0, stderr: '' });
      expect(await postbox.mailsWithOneTo('user-42@example.com')).toHaveLength(2);
      expect(php.output()).not.toMatch(/Warning|Notice|Deprecated|Fatal/);
    },
    TIMEOUT,
  );

  it('the php-missed snippet mails once what comes twice, and answers 500 if it cannot', async () => {
    const postbox = new Postbox();
    const database = { DATABASE_URL: `sqlite:${join(newDirectory('mails'), 'mails.sqlite')}` };
    const settings = { ...environment, ...database, POSTROOM_URL: 'http://127.0.0.1:9' };
    const php = await servePhp(snippet('php-missed'), settings, [postbox.ini]);
    const order = { event: 'order.paid', data: { order: 7 } };
    const events = [missed('1-0', order, '42'), missed('2-0', order, null), missed('3-0', order, '43')];
    postbox.works(false);
    expect((await post(php.url, events)).status).toBe(500);
    postbox.works(true);
    for (const _ of ['once', 'and again']) expect((await post(php.url, events)).status).toBe(200);
    expect(postbox.mails).toHaveLength(2);
    expect((await fetch(php.url, { method: 'POST', body: '{"events":[]}' })).status).toBe(500);
  });
});

describeWith(['php'], 'README.md: more', () => {
  it('the php-more snippet waits, sends later, takes back and collapses', async () => {
    const server = await startProcess({ NOTIFY_KEYS: KEY, JWT_SECRET });
    const query = `room=public.orders&token=${token({ sub: '42' })}`;
    const client = await connect(`ws://127.0.0.1:${server.port}/ws?${query}`);
    await client.nextOf('subscribed');
    const outcome = run('php-more', server.url);
    const { id, event } = await client.nextOf('notification');
    expect(event).toBe('door.rings');
    client.send({ type: 'ack', id });
    expect(await outcome).toEqual({ code: 0, stdout: '1 of 1 tabs have it\ntaken back\n', stderr: '' });
    for (const data of [16, 17])
      expect(await client.nextOf('notification')).toMatchObject({ event: 'orders.open', data });
    const late = await connect(`ws://127.0.0.1:${server.port}/ws?room=public.orders&since=${id}`);
    await late.nextOf('subscribed');
    expect(await late.next()).toMatchObject({ event: 'orders.open', data: 17 });
    await late.quiet();
  });
});
