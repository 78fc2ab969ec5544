import { readFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import { openPage, openSite } from '../support/browser.js';
import { token as sign } from '../support/client.js';
import { runPhp } from '../support/commands.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { snippet } from '../support/readme.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET } from '../support/server.js';

const listener = readFileSync(new URL('listener.html', import.meta.url), 'utf8');

/** A visitor's page on another origin than the server's. Its plain WebSocket has joined when this resolves. */
async function openListener(server: ServerProcess, query: Record<string, string>) {
  const socket = `ws://127.0.0.1:${server.port}/ws?${new URLSearchParams(query)}`;
  const page = await openPage();
  await page.goto(`${await openSite(listener)}#${encodeURIComponent(socket)}`);
  return {
    page,
    state: (text: string) => page.getByText(text, { exact: true }).waitFor(),
    shown: page.locator('li'),
  };
}

/** The value that a PHP array or named argument of the snippet gives to this name. */
function wordOf(name: string, script: string): string {
  const value = new RegExp(`\\b${name}'?\\s*(?:=>|:)\\s*['"]([^'"]+)['"]`).exec(script)?.[1];
  if (!value) throw new Error(`The snippet names no ${name}:\n${script}`);
  return value;
}

function publisher(server: ServerProcess): Record<string, string> {
  return { POSTROOM_URL: server.url, POSTROOM_KEY: server.key };
}

/** A page that runs the script and shows the lines that it logs. */
function pageWith(script: string): string {
  const show = `console.log = (...all) => document.body.append(all.map(one => JSON.stringify(one)).join(' '))`;
  const body = script.includes('<script') ? script : `<script type="module">${script}</script>`;
  return `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script>${show}</script>${body}`;
}

/** The snippet with the address of this server. */
function at(server: ServerProcess, script: string): string {
  return script.replaceAll(/(127\.0\.0\.1|localhost):8080/g, `127.0.0.1:${server.port}`);
}

async function notify(server: ServerProcess, notification: object): Promise<void> {
  const response = await fetch(`${server.url}/notify`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify(notification),
  });
  expect(response.status).toBe(200);
}

describeWith(['php', 'chromium'], 'from PHP to a browser', () => {
  it.each(['php-curl', 'php-function'])(
    'a browser shows what the %s snippet of README.md posts',
    async name => {
      const script = snippet(name);
      const room = wordOf('room', script);
      const server = await startProcess({ PUBLIC_ROOMS: '*' });
      const browser = await openListener(server, { room });
      await browser.state(`listening to ${room}`);

      const php = await runPhp(script, publisher(server));

      expect(php).toMatchObject({ code: 0, stderr: '' });
      await browser.shown.first().waitFor();
      expect(await browser.shown.allTextContents()).toEqual([
        expect.stringContaining(wordOf('event', script)),
      ]);
      expect(browser.page.faults).toEqual([]);
    },
  );

  it('the php-curl snippet of README.md says what is not set', async () => {
    const { stdout } = await runPhp(snippet('php-curl'), {});
    expect(stdout).toBe('Set POSTROOM_URL and POSTROOM_KEY; the server prints the line.\n');
  });

  it('a token signed by the php-token snippet of README.md opens a private room', async () => {
    const secret = 'a secret that PHP and Postroom share, 32 bytes or more';
    const server = await startProcess({ JWT_SECRET: secret });
    const php = await runPhp(`${snippet('php-token')}\necho "\\n", $token ?? '';`, { JWT_SECRET: secret });
    expect(php).toMatchObject({ code: 0, stderr: '' });
    const token = /[\w-]+\.[\w-]+\.[\w-]+/.exec(php.stdout)?.[0] ?? '';
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    const room: string = claims.rooms[0].replace('*', '42');

    const member = await openListener(server, { room, token });
    const stranger = await openListener(server, { room });
    await member.state(`listening to ${room}`);
    await stranger.state('error: forbidden');
    await notify(server, { room, event: 'private', data: 'for members' });
    await notify(server, { user: String(claims.sub), event: 'personal', data: 'for you' });

    await member.shown.nth(1).waitFor();
    expect(await member.shown.allTextContents()).toEqual(['private "for members"', 'personal "for you"']);
    expect(await stranger.shown.count()).toBe(0);
  });
});

it.each(['php-curl', 'php-function', 'browser', 'browser-client'])(
  'the %s snippet of README.md uses the room of the development page and of the printed curl line',
  name => {
    expect(snippet(name)).toContain('public.orders');
  },
);

describeWith(['chromium'], 'in a browser', () => {
  it.each(['browser', 'browser-client'])('the %s snippet of README.md shows a notification', async name => {
    const server = await startProcess();
    const script = at(server, snippet(name));
    const room = /[?&]room=([^&'"`\s]+)/.exec(script)?.[1];
    if (!room) throw new Error(`The snippet joins no room:\n${script}`);
    const page = await openPage();
    const joined = page
      .waitForEvent('websocket')
      .then(socket =>
        socket.waitForEvent('framereceived', ({ payload }) => String(payload).includes('"subscribed"')),
      );
    await Promise.all([joined, page.goto(await openSite(pageWith(script)))]);

    await notify(server, { room, event: 'order.paid', data: { text: 'Parcel for Zoë' } });

    await page.getByText('Parcel for Zoë').first().waitFor();
    expect(page.faults).toEqual([]);
  });

  it('the browser snippet of README.md says on the console why it hears nothing', async () => {
    const server = await startProcess();
    const page = await openPage();
    const printed = page.waitForEvent('console', message => message.type() === 'error');
    const script = at(server, snippet('browser')).replace('room=public.orders', 'room=orders');
    await page.goto(await openSite(pageWith(script)));
    expect((await printed).text()).toContain('token');
  });

  it('the browser-token snippet of README.md joins with the token of its backend', async () => {
    const server = await startProcess({ JWT_SECRET });
    const page = await openPage();
    await page.route('**/postroom-token', route => route.fulfill({ body: sign({ rooms: ['orders.*'] }) }));
    await page.goto(await openSite(pageWith(at(server, snippet('browser-token')))));
    await page.getByText('subscribed').waitFor();
    expect(page.faults).toEqual([]);
  });

  it('the browser-token snippet of README.md takes no error page for a token', async () => {
    const server = await startProcess();
    const page = await openPage();
    const opened: string[] = [];
    page.on('websocket', socket => opened.push(socket.url()));
    await page.route('**/postroom-token', route => route.fulfill({ status: 500, body: '<h1>Oops</h1>' }));
    const failure = page.waitForEvent('pageerror');
    await page.goto(await openSite(pageWith(at(server, snippet('browser-token')))));
    expect((await failure).message).toBe('no token: HTTP 500');
    expect(opened).toEqual([]);
  });

  it('the snippet of clients/js/README.md asks again where its backend had no token', async () => {
    const server = await startProcess({ JWT_SECRET });
    const page = await openPage();
    let asked = 0;
    await page.route('**/postroom-token', route =>
      route.fulfill(
        ++asked === 1 ? { status: 500, body: '<h1>Oops</h1>' } : { body: sign({ rooms: ['orders'] }) },
      ),
    );
    const script = snippet('start', 'clients/js/README.md')
      .replace('https://example.com', server.url)
      .replace('wss://example.com', `ws://127.0.0.1:${server.port}`);
    const joined = page
      .waitForEvent('websocket')
      .then(socket =>
        socket.waitForEvent('framereceived', ({ payload }) => String(payload).includes('"subscribed"')),
      );
    await page.goto(await openSite(pageWith(`<script>const show = console.log</script>${script}`)));
    await joined;
    await notify(server, { room: 'orders', event: 'order.paid', data: { text: 'Parcel for Zoë' } });
    await page.getByText('Parcel for Zoë').waitFor();
    expect(asked).toBe(2);
  });

  it('a token that nobody signed closes the connection with a code that a browser can read', async () => {
    const server = await startProcess();
    const browser = await openListener(server, { room: 'public.demo', token: 'a.b.c' });
    await browser.state('closed with 4501');
  });
});
