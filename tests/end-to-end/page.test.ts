import { expect, it } from '@jest/globals';
import { type OpenedPage, openPage } from '../support/browser.js';
import { runPhp, runShell } from '../support/commands.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { describeWith } from '../support/requires.js';

/** If a server starts slowly, the client fails a few times, and then waits longer. */
const LONGEST_WAIT_MS = 35_000;

async function openDevelopmentPage(server: ServerProcess, options = {}): Promise<OpenedPage> {
  const page = await openPage(options);
  await page.goto(`${server.url}/#key=${server.key}`);
  await hasState(page, 'connected');
  return page;
}

const hasState = (page: OpenedPage, text: string, timeout = 10_000) =>
  page.locator('#state', { hasText: new RegExp(`^${text}$`) }).waitFor({ timeout });
const notifications = (page: OpenedPage) => page.locator('#notifications > li.notification');

async function send(page: OpenedPage, event: string, data: string): Promise<void> {
  await page.getByLabel('Event').fill(event);
  await page.getByLabel('Data (JSON)').fill(data);
  await page.getByRole('button', { name: 'Send' }).click();
}

async function join(page: OpenedPage, room: string): Promise<void> {
  await page.getByLabel('Room to listen to').fill(room);
  await page.getByRole('button', { name: 'Join' }).click();
}

async function notify(server: ServerProcess, body: unknown): Promise<void> {
  const response = await fetch(`${server.url}/notify`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(response.status).toBe(200);
}

describeWith(['chromium'], 'the development page', () => {
  it('connects and shows the notification that its form sends, with nothing refused or logged as an error', async () => {
    const server = await startProcess();
    const page = await openDevelopmentPage(server);

    await send(page, 'order.paid', '{"order": 42}');

    await notifications(page).waitFor();
    expect(await notifications(page).locator('.event').textContent()).toBe('order.paid');
    expect(await notifications(page).locator('.room').textContent()).toBe('public.orders');
    expect(await notifications(page).locator('.data').textContent()).toBe('{\n  "order": 42\n}');
    await page.getByText(/^Sent to 1 connection, id \d+-\d+$/).waitFor();
    expect(await page.locator('#connection').textContent()).toMatch(/^\d+\.\d+$/);
    expect(page.faults).toEqual([]);
  });

  it('shows data as text, and as it was typed', async () => {
    const server = await startProcess();
    const page = await openDevelopmentPage(server);

    await send(
      page,
      '<b>event</b>',
      `["<img src=x onerror='document.title = 1'>", 9007199254740993, 1.0, {}, "\\u00e9"]`,
    );

    await notifications(page).waitFor();
    expect(await notifications(page).locator('.event').textContent()).toBe('<b>event</b>');
    expect(await notifications(page).locator('.data').textContent()).toBe(
      `[\n  "<img src=x onerror='document.title = 1'>",\n  9007199254740993,\n  1.0,\n  {},\n  "\\u00e9"\n]`,
    );
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.title()).toBe('Postroom');
    expect(page.faults).toEqual([]);
  });

  it('leaves this tab out when asked to', async () => {
    const server = await startProcess();
    const [here, there] = [await openDevelopmentPage(server), await openDevelopmentPage(server)];

    await here.getByLabel('Not to this tab').check();
    await send(here, 'first', '1');
    await here.getByText(/^Sent to 1 connection,/).waitFor();
    await here.getByLabel('Not to this tab').uncheck();
    await send(here, 'second', '2');
    await here.getByText(/^Sent to 2 connections,/).waitFor();

    await notifications(there).nth(1).waitFor();
    await notifications(here).first().waitFor();
    expect(await here.locator('.event').allTextContents()).toEqual(['second']);
    expect(await there.locator('.event').allTextContents()).toEqual(['second', 'first']);
  });

  it('points at broken JSON next to the field and sends nothing', async () => {
    const server = await startProcess();
    const page = await openDevelopmentPage(server);
    const asked: string[] = [];
    page.on('request', request => asked.push(request.url()));

    await send(page, 'broken', '{"order": ');

    await page.getByText('This is not JSON yet').waitFor();
    const field = page.getByLabel('Data (JSON)');
    expect(await field.getAttribute('aria-invalid')).toBe('true');
    expect(await field.getAttribute('aria-describedby')).toBe(
      await page.getByRole('alert').getAttribute('id'),
    );
    expect(asked).toEqual([]);
    await send(page, 'mended', '{"order": 1}');
    await notifications(page).waitFor();
    expect(await field.getAttribute('aria-invalid')).toBe('false');
  });

  it('asks for the key when the address has none, and shows what the server says of a wrong one', async () => {
    const server = await startProcess();
    const page = await openPage();
    await page.goto(server.url);
    await hasState(page, 'connected');

    await send(page, 'greeting', '1');
    await page.getByText('The key is missing.').waitFor();
    await page.getByLabel('Key').fill('not the key');
    const refused = page.waitForResponse(`${server.url}/notify`);
    await page.getByRole('button', { name: 'Send' }).click();
    const { detail } = await (await refused).json();
    await page.getByText(detail, { exact: true }).waitFor();
    await page.getByLabel('Key').fill(server.key);
    await page.getByRole('button', { name: 'Send' }).click();

    await notifications(page).waitFor();
    expect(await page.getByLabel('Key').getAttribute('type')).toBe('password');
  });

  it('joins the room of its address, and another one on request', async () => {
    const server = await startProcess();
    const page = await openPage();
    await page.goto(`${server.url}/?room=public.first#key=${server.key}`);
    await hasState(page, 'connected');
    await send(page, 'one', '1');
    await notifications(page).waitFor();

    await join(page, 'public.second/ü');
    await hasState(page, 'connected');
    await notify(server, { room: 'public.first', event: 'elsewhere' });
    await send(page, 'two', '2');

    await notifications(page).nth(1).waitFor();
    expect(await page.locator('.event').allTextContents()).toEqual(['two', 'one']);
    expect(await page.locator('.room').allTextContents()).toEqual(['public.second/ü', 'public.first']);
    expect(new URL(page.url()).searchParams.get('room')).toBe('public.second/ü');
  });

  it.each([
    ['private', 'forbidden'],
    ['no spaces, please', 'invalid_room'],
  ])('says that it is not in the room %j, and why (%s), until it joins another one', async (room, code) => {
    const server = await startProcess();
    const page = await openDevelopmentPage(server);
    await page.evaluate(`
      window.shown = [];
      new MutationObserver(() => shown.push(document.querySelector('#state').textContent))
        .observe(document.querySelector('#state'), { childList: true });`);

    await join(page, room);
    await hasState(page, 'not joined');
    expect(await page.evaluate('shown')).not.toContain('connected');
    expect(await page.locator('#state').getAttribute('data-kind')).toBe('refused');
    expect(await page.locator('#note').textContent()).toMatch(
      new RegExp(`^This page could not join the room “${room}”\\. .+ \\(${code}\\)$`),
    );
    await join(page, 'public.orders');
    await hasState(page, 'connected');
    expect(await page.locator('#note').isVisible()).toBe(false);
    await send(page, 'order.paid', '1');
    await notifications(page).waitFor();
  });

  it('takes the result of the last one away when the next one cannot be sent', async () => {
    const server = await startProcess();
    const page = await openDevelopmentPage(server);
    const result = page.locator('#answer');
    await send(page, 'first', '1');
    await page.getByText(/^Sent to 1 connection,/).waitFor();

    await send(page, 'broken', '{"order": ');
    await page.getByText('This is not JSON yet').waitFor();
    expect(await result.textContent()).toBe('');
    await send(page, '', '2');
    await page.locator('#answer.trouble', { hasText: /^event must be/ }).waitFor();
    await server.stop('SIGKILL');
    await send(page, 'nobody', '3');
    await page.getByText('No answer from the server.').waitFor();
  });

  it('says that a restarted server has another key, and goes on with its new address', async () => {
    const first = await startProcess();
    const page = await openDevelopmentPage(first);
    await send(page, 'before', '1');
    await notifications(page).waitFor();
    expect(await page.getByLabel('Key').isVisible()).toBe(false);

    await first.stop();
    const second = await startProcess({ PORT: String(first.port) });
    await hasState(page, 'connected', LONGEST_WAIT_MS);
    await page.getByText(/^The server was restarted and has a new key\./).waitFor();
    expect(await page.locator('#answer').textContent()).toBe('');
    expect(await page.getByLabel('Key').isVisible()).toBe(true);

    await page.goto(`${second.url}/#key=${second.key}`); // in the same document: only the fragment changes
    await page.getByLabel('Key').waitFor({ state: 'hidden' });
    await send(page, 'after', '2');
    await notifications(page).nth(1).waitFor();
    expect(page.faults.filter(fault => !fault.includes('WebSocket'))).toEqual([]);
  }, 60_000);

  it('tells whoever sends with an old address that the server may have been restarted', async () => {
    const server = await startProcess();
    const page = await openPage();
    await page.goto(`${server.url}/#key=the-key-of-the-run-before`);
    await hasState(page, 'connected');

    await send(page, 'greeting', '1');

    await page.getByText(/^This key is not right\. The server may have been restarted/).waitFor();
    await page.getByLabel('Key').fill(server.key);
    expect(await page.locator('#key-trouble').textContent()).toBe('');
    await page.getByRole('button', { name: 'Send' }).click();
    await notifications(page).waitFor();
  });

  it('comes back after a restart, and says so when the past is gone', async () => {
    const settings = { JOURNAL: 'memory', NOTIFY_KEYS: 'a-key-that-stays-the-same-whoever-starts-it' };
    const first = await startProcess(settings);
    const page = await openDevelopmentPage(first);
    await send(page, 'before', '1');
    await notifications(page).waitFor();

    expect(await first.stop()).toBe(0);
    await hasState(page, 'reconnecting');
    await startProcess({ ...settings, PORT: String(first.port) });
    await hasState(page, 'connected', LONGEST_WAIT_MS);
    await page.getByText('some notifications may be missing here').waitFor();
    await send(page, 'after', '2');

    await notifications(page).nth(1).waitFor();
    expect(await page.locator('.event').allTextContents()).toEqual(['after', 'before']);
  }, 60_000);

  it('shows what it missed while it was away, once and in order', async () => {
    const server = await startProcess();
    const page = await openPage();
    let drop = () => {};
    await page.routeWebSocket(/\/ws/, socket => {
      socket.connectToServer();
      drop = () => socket.close({ code: 4400, reason: 'shutting down' });
    });
    await page.goto(`${server.url}/#key=${server.key}`);
    await hasState(page, 'connected');
    await send(page, 'before', '1');
    await notifications(page).waitFor();

    await page.clock.install();
    await page.clock.pauseAt(Date.now() + 1000); // away until this clock goes on
    drop();
    await hasState(page, 'reconnecting');
    await notify(server, { room: 'public.orders', event: 'meanwhile', data: 2 });
    await page.clock.resume();
    await hasState(page, 'connected');
    await send(page, 'after', '3');

    await notifications(page).nth(2).waitFor();
    expect(await page.locator('.event').allTextContents()).toEqual(['after', 'meanwhile', 'before']);
  });

  it('stays away and says why when an operator removes it, until it is told to join', async () => {
    const server = await startProcess();
    const page = await openPage();
    await page.clock.install();
    await page.goto(`${server.url}/#key=${server.key}`);
    await hasState(page, 'connected');
    const connection = await page.locator('#connection').textContent();

    const removal = await fetch(`${server.url}/connections/${connection}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${server.key}` },
    });

    expect(await removal.json()).toEqual({ removed: 1 });
    await hasState(page, 'closed');
    await page.getByText('(4503)').waitFor();
    await page.clock.runFor(60_000);
    expect(await page.locator('#state').textContent()).toBe('closed');
    await page.getByRole('button', { name: 'Join' }).click();
    await hasState(page, 'connected');
  });

  it('keeps the newest 200 of a flood', async () => {
    const server = await startProcess();
    const page = await openDevelopmentPage(server);

    await notify(
      server,
      Array.from({ length: 250 }, (_, n) => ({ room: 'public.orders', event: `n${n + 1}` })),
    );

    await page.locator('#count', { hasText: '250' }).waitFor();
    expect(await notifications(page).count()).toBe(200);
    expect(await page.locator('.event').first().textContent()).toBe('n250');
    await page.getByRole('button', { name: 'Clear' }).click();
    expect(await notifications(page).count()).toBe(0);
  });

  it.each(['light', 'dark'] as const)('fits a screen 360 pixels wide (%s)', async colorScheme => {
    const server = await startProcess();
    const page = await openDevelopmentPage(server, { viewport: { width: 360, height: 740 }, colorScheme });
    await send(page, 'a.rather.long.event.name.without.any.space', `"${'long'.repeat(100)}"`);
    await notifications(page).waitFor();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
  });
});

const exact = `{"id": 9007199254740993, "price": 1.50, "who": "O'Brien \\\\ \\"Zoë\\" $x", "empty": {}, "list": [], "keys": {"0": "a"}, "no": null}`;

describeWith(['chromium', 'php', 'curl'], 'the code on the development page', () => {
  it.each([
    ['what fits a PHP array', exact],
    ['a number that PHP cannot hold', '{"id": 123456789012345678901234567890, "tiny": 1e-400}'],
    ['plain text', `"It's"`],
  ])('sends the same notification with curl and from PHP: %s', async (_, data) => {
    const server = await startProcess();
    const page = await openDevelopmentPage(server);

    await send(page, `it's "paid"`, data);
    await notifications(page).waitFor();
    const curl = await runShell((await page.locator('#curl').textContent()) ?? '');
    expect(JSON.parse(curl.stdout)).toMatchObject({ connections: 1 });
    await notifications(page).nth(1).waitFor();
    const php = await runPhp((await page.locator('#php').textContent()) ?? '', {});
    expect(php).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(php.stdout)).toMatchObject({ connections: 1 });
    await notifications(page).nth(2).waitFor();

    const [byPhp, byCurl, byForm] = await page.locator('.data').allTextContents();
    expect(byCurl).toBe(byForm);
    expect(JSON.parse(byPhp ?? '')).toEqual(JSON.parse(byForm ?? ''));
    expect(byPhp).toContain(/\d{10,}/.exec(byForm ?? '')?.[0] ?? '');
    expect(new Set(await page.locator('.event').allTextContents())).toEqual(new Set([`it's "paid"`]));
  });
});
