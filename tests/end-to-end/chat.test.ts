import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import type { Page } from 'playwright-core';
import { Webhook } from 'standardwebhooks';
import {
  folder,
  isLive,
  logIn,
  programs,
  SITE_TIMEOUT,
  type Site,
  startSite,
} from '../support/example-site.js';
import { WEBHOOK_SECRET } from '../support/receiver.js';
import { describeWith } from '../support/requires.js';

const MARKUP = '<img src=x onerror=alert(1)>';

const texts = (page: Page) => page.locator('#messages p').allTextContents();
const said = (page: Page, text: string) =>
  page.locator('#messages p').getByText(text, { exact: true }).waitFor();

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel('Message').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** Waits until the field is empty again: the server has answered `published`. */
const taken = (page: Page) => page.locator('form:not([inert]) input:placeholder-shown').waitFor();

/** As the server posts it. */
function post(site: Site, events: object[], secret = WEBHOOK_SECRET): Promise<Response> {
  const body = JSON.stringify({ events });
  const now = new Date();
  return fetch(`${site.url}/chat/webhook.php`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
      'webhook-signature': new Webhook(secret).sign('msg_1', now, body),
    },
    body,
  });
}

const message = (id: string, fields: object = {}) => ({
  id,
  at: '2026-11-28T09:30:00.000Z',
  type: 'message',
  node: 'n',
  room: 'inbox.chat',
  event: 'say',
  data: { text: `text of ${id}` },
  connection: '1.2',
  user: 'Li',
  ...fields,
});

it('the chat has less than 60 lines of PHP', () => {
  const files = readdirSync(`${folder}/chat`).filter(name => name.endsWith('.php'));
  const lines = files
    .flatMap(name => readFileSync(`${folder}/chat/${name}`, 'utf8').split('\n'))
    .filter(line => !/^\s*($|\/\/|\/\*|\*)/.test(line));
  expect(files.length).toBeGreaterThan(1);
  expect(lines.length).toBeLessThan(60);
});

describeWith(programs, 'examples/php/chat', () => {
  it(
    'two users log in, see who types, hear each other; PHP has stored it, and a page that is loaded again shows it',
    async () => {
      const site = await startSite();
      const li = await logIn(site, 'Li', 'To the chat');
      const bo = await logIn(site, 'Bo', 'To the chat');

      await li.getByLabel('Message').pressSequentially('Hel');
      await bo.getByText('Li is typing…').waitFor();
      expect(await li.locator('#note').textContent()).toBe('');

      await say(li, 'Hello, Zoë 😀');
      for (const page of [li, bo]) await said(page, 'Hello, Zoë 😀');
      expect(await bo.locator('#note').textContent()).toBe('');
      await say(bo, MARKUP);
      for (const page of [li, bo]) await said(page, MARKUP);

      expect(await site.query('SELECT user, text FROM messages ORDER BY rowid')).toEqual([
        ['Li', 'Hello, Zoë 😀'],
        ['Bo', MARKUP],
      ]);
      expect(await li.locator('.mine p').allTextContents()).toEqual(['Hello, Zoë 😀']);

      await li.reload();
      await isLive(li);
      expect(await texts(li)).toEqual(['Hello, Zoë 😀', MARKUP]);
      await say(li, 'again');
      for (const page of [li, bo]) await said(page, 'again');
      for (const page of [li, bo]) {
        expect(await texts(page)).toEqual(['Hello, Zoë 😀', MARKUP, 'again']);
        expect(page.faults).toEqual([]);
      }
    },
    SITE_TIMEOUT,
  );

  it(
    'keeps what is said while PHP stands still, and shows it later; who types is seen meanwhile',
    async () => {
      const site = await startSite();
      const li = await logIn(site, 'Li', 'To the chat');
      const bo = await logIn(site, 'Bo', 'To the chat');
      site.pausePhp();
      const field = li.getByLabel('Message');
      await say(li, 'one');
      await taken(li);
      await say(li, 'two');
      await taken(li);
      await field.pressSequentially('x');
      await bo.getByText('Li is typing…').waitFor();
      expect(await texts(bo)).toEqual([]);
      expect(await site.query('SELECT text FROM messages')).toEqual([]);

      site.resumePhp();
      await said(bo, 'two');
      for (const page of [li, bo]) expect(await texts(page)).toEqual(['one', 'two']);
      expect(await site.query('SELECT text FROM messages ORDER BY rowid')).toEqual([['one'], ['two']]);
    },
    SITE_TIMEOUT,
  );

  it(
    'shows nothing that another browser says in the name of PHP',
    async () => {
      const site = await startSite();
      const li = await logIn(site, 'Li', 'To the chat');
      const bo = await logIn(site, 'Bo', 'To the chat');
      await li.evaluate(
        `room.publish('chat', 'said', { id: '9-9', user: 'Bo', text: 'forged', at: '2026-11-28' })`,
      );
      await say(li, 'real');
      await said(bo, 'real');
      expect(await texts(bo)).toEqual(['real']);
      expect(await site.query('SELECT text FROM messages')).toEqual([['real']]);
    },
    SITE_TIMEOUT,
  );

  it(
    'lets no browser join the inbox or speak elsewhere, and nobody in who has not logged in',
    async () => {
      const site = await startSite();
      const li = await logIn(site, 'Li', 'To the chat');
      const fault = await li.evaluate(
        `new Promise(resolve => { room.onerror = resolve; room.subscribe('inbox.chat'); })`,
      );
      expect(fault).toMatchObject({ code: 'forbidden', room: 'inbox.chat' });
      const code = await li.evaluate(`room.publish('news', 'e').then(() => 'taken', error => error.code)`);
      expect(code).toBe('forbidden');

      await li.context().clearCookies();
      await li.goto(`${site.url}/chat/`);
      expect(li.url()).toBe(`${site.url}/login.php`);
    },
    SITE_TIMEOUT,
  );

  it(
    'sends a page whose session has ended to the login',
    async () => {
      const site = await startSite();
      const li = await logIn(site, 'Li', 'To the chat');
      await li.context().clearCookies();
      await li.context().addCookies([{ name: 'PHPSESSID', value: 'ended', url: site.url }]);
      await li.evaluate(`postroom('/ws').onerror = room.onerror`);
      await li.waitForURL(`${site.url}/login.php`);
    },
    SITE_TIMEOUT,
  );

  it(
    'stores and tells once what comes twice, in order, and leaves out what is not its own',
    async () => {
      const site = await startSite();
      const li = await logIn(site, 'Li', 'To the chat');
      const events = [
        message('1-0'),
        message('2-0', { room: 'chat' }),
        message('3-0', { data: { text: ' ' } }),
        message('4-0', { data: { text: ['a'] } }),
        message('5-0', { data: 'text' }),
        message('6-0', { data: null }),
        { id: '7-0', at: '2026-11-28T09:30:00.000Z', type: 'room.vacated', node: 'n', room: 'inbox.chat' },
        message('8-0'),
      ];
      expect((await post(site, events, `whsec_${Buffer.alloc(32, 8).toString('base64')}`)).status).toBe(401);
      for (const _ of ['once', 'and again']) expect((await post(site, events)).status).toBe(200);
      await say(li, 'then');
      await said(li, 'then');
      expect(await texts(li)).toEqual(['text of 1-0', 'text of 8-0', 'then']);
      expect(await site.query('SELECT text FROM messages ORDER BY rowid')).toEqual([
        ['text of 1-0'],
        ['text of 8-0'],
        ['then'],
      ]);
    },
    SITE_TIMEOUT,
  );
});
