import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from '@jest/globals';
import type { Page } from 'playwright-core';
import { type Broker, freePort, newDirectory, startBroker } from '../support/broker.js';
import { type OpenedPage, openPage } from '../support/browser.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { describeWith } from '../support/requires.js';
import { JWT_SECRET, KEY } from '../support/server.js';

const folder = fileURLToPath(new URL('../../examples/php', import.meta.url));
const TIMEOUT = 60_000;
// Longer than a page takes to load on a busy machine.
const GRACE_SECONDS = 5;
const MARKUP = '<img src=x onerror=alert(1)>';

interface Site {
  /** The address of online.php. */
  readonly url: string;
  readonly postroom: ServerProcess;
}

const sites = new Set<Broker>();

afterEach(async () => {
  const printed = [...sites].map(site => site.output()).join('');
  await Promise.all([...sites].map(site => site.stop()));
  sites.clear();
  expect(printed).not.toMatch(/Warning|Notice|Deprecated|Fatal/);
});

/** The real page, as `php -S` serves it, and the real server. */
async function startSite(settings: Record<string, string> = { JWT_SECRET }): Promise<Site> {
  const postroom = await startProcess({
    NOTIFY_KEYS: KEY,
    JWT_SECRET,
    JOURNAL: 'memory',
    PRESENCE_GRACE_SECONDS: String(GRACE_SECONDS),
  });
  const port = await freePort();
  const directory = newDirectory('online');
  const strict = ['error_reporting=-1', 'log_errors=1', `session.save_path=${directory}`];
  const site = await startBroker(port, [
    {
      program: 'php',
      args: [...strict.flatMap(setting => ['-d', setting]), '-S', `127.0.0.1:${port}`, '-t', folder],
      directory,
      env: { POSTROOM_URL: postroom.url, POSTROOM_KEY: KEY, ...settings },
      ready: /Development Server/,
    },
  ]);
  sites.add(site);
  return { url: `http://127.0.0.1:${port}/online.php`, postroom };
}

/** A visitor in a fresh browser who has said a name. */
async function enter(site: Site, name: string): Promise<OpenedPage> {
  const page = await openPage();
  await page.goto(site.url);
  await say(page, name);
  await isIn(page);
  return page;
}

async function say(page: Page, name: string): Promise<void> {
  await page.getByLabel('What is your name?').fill(name);
  await page.getByRole('button', { name: 'Come in' }).click();
}

/** Waits until the page shows its own visitor in the room. */
async function isIn(page: Page): Promise<void> {
  await page.locator('li em').waitFor();
}

const names = (page: Page) => page.locator('li bdi').allTextContents();
const member = (page: Page, name: string) =>
  page.locator('li').filter({ has: page.getByText(name, { exact: true }) });

/** Keeps all lines that the page tells from now on. */
async function listen(page: Page) {
  await page.evaluate(`
    window.lines = [];
    new MutationObserver(records => {
      for (const { addedNodes } of records) for (const node of addedNodes) lines.push(node.textContent);
    }).observe(document.querySelector('#news'), { childList: true });
  `);
  return {
    /** All lines, when the last one is this. */
    until: async (line: string): Promise<string[]> => {
      // As a function: the page's Content-Security-Policy forbids eval().
      await page.waitForFunction(wanted => Reflect.get(globalThis, 'lines').at(-1) === wanted, line);
      return page.evaluate('lines');
    },
  };
}

describeWith(['php', 'chromium'], 'examples/php/online.php', () => {
  it(
    'shows two users each other, and each which one is oneself',
    async () => {
      const site = await startSite();
      const li = await enter(site, 'Li');
      expect(await names(li)).toEqual(['Li']);
      const lines = await listen(li);
      const bo = await enter(site, 'Bo');
      expect(await lines.until('Bo came')).toEqual(['Bo came']);
      await bo.getByText('Live', { exact: true }).waitFor();
      for (const page of [li, bo]) {
        expect((await names(page)).sort()).toEqual(['Bo', 'Li']);
        expect(await page.locator('#count').textContent()).toBe('2');
        expect(page.faults).toEqual([]);
      }
      expect(
        await li
          .locator('li', { has: li.locator('em') })
          .locator('bdi')
          .textContent(),
      ).toBe('Li');
      expect(
        await bo
          .locator('li', { has: bo.locator('em') })
          .locator('bdi')
          .textContent(),
      ).toBe('Bo');
    },
    TIMEOUT,
  );

  it(
    'tells of no second tab, and of no reload; of who closed the last tab, when the grace is over',
    async () => {
      const site = await startSite();
      const li = await enter(site, 'Li');
      const lines = await listen(li);
      const bo = await enter(site, 'Bo');
      const mo = await enter(site, 'Mo');
      const second = await bo.context().newPage();
      await second.goto(site.url);
      await isIn(second);
      expect((await names(second)).sort()).toEqual(['Bo', 'Li', 'Mo']);
      await second.close();
      await bo.reload();
      await isIn(bo);
      // If Bo had left, it would be told before Mo, who closes the tab later.
      const closed = Date.now();
      await mo.context().close();
      expect(await lines.until('Mo left')).toEqual(['Bo came', 'Mo came', 'Mo left']);
      expect(Date.now() - closed).toBeGreaterThanOrEqual(GRACE_SECONDS * 1000 - 100);
      for (const page of [li, bo]) expect((await names(page)).sort()).toEqual(['Bo', 'Li']);
    },
    TIMEOUT,
  );

  it(
    'shows what PHP was told: connections, users, rooms, tabs',
    async () => {
      const site = await startSite();
      const li = await enter(site, 'Li');
      const bo = await enter(site, 'Bo');
      const second = await li.context().newPage();
      await second.goto(site.url);
      await isIn(second);
      await bo.goto(`${site.url}?again`);
      const box = await bo.locator('section.soft').textContent();
      expect(box).toMatch(/Users here: 2 · connections: [23], yours: [01] ·\s+rooms in use: 1/);
      expect(box).toMatch(/Li\s*\(2\)/);
    },
    TIMEOUT,
  );

  it(
    'shows a name with HTML as text, and runs no script that came in all the same',
    async () => {
      const site = await startSite();
      const li = await enter(site, 'Li');
      const lines = await listen(li);
      const guest = await enter(site, MARKUP);
      await lines.until(`${MARKUP} came`);
      const second = await guest.context().newPage();
      await second.goto(site.url);
      await isIn(second);
      expect(await second.locator('section.soft bdi').allTextContents()).toContain(MARKUP);
      for (const page of [li, guest, second]) {
        expect(await names(page)).toContain(MARKUP);
        expect(await page.locator('img').count()).toBe(0);
      }
      expect([...li.faults, ...guest.faults]).toEqual([]);

      await li.evaluate(`document.querySelector('h1').setAttribute('onclick', 'window.ran = true')`);
      await li.locator('h1').click();
      expect(await li.evaluate('window.ran')).toBeUndefined();
      expect(li.faults).toEqual([expect.stringMatching(/Content Security Policy/)]);
    },
    TIMEOUT,
  );

  it(
    'takes names of 1 to 30 characters',
    async () => {
      const site = await startSite();
      const page = await openPage();
      await page.goto(site.url);
      for (const name of ['x'.repeat(31), '   ']) {
        await page.getByLabel('What is your name?').evaluate(field => field.removeAttribute('maxlength'));
        await say(page, name);
        await page.getByText('A name has 1 to 30 characters.').waitFor();
      }
      await say(page, 'ß'.repeat(30));
      await isIn(page);
      expect(await names(page)).toEqual(['ß'.repeat(30)]);
    },
    TIMEOUT,
  );

  it(
    'throws out a user with all tabs; they say who did it, and do not come back by themselves',
    async () => {
      const site = await startSite();
      const li = await enter(site, 'Li');
      const bo = await enter(site, 'Bo');
      const second = await bo.context().newPage();
      await second.goto(site.url);
      await isIn(second);
      await member(li, 'Bo').getByRole('button', { name: 'Throw out' }).click();
      for (const page of [bo, second]) {
        await page.getByText('Li threw you out.').waitFor();
        expect(await page.locator('li:visible').count()).toBe(0);
        expect(await page.evaluate('room.state')).toBe('closed');
      }
      await member(li, 'Bo').waitFor({ state: 'detached' });
      expect(await names(li)).toEqual(['Li']);

      await bo.getByRole('link', { name: 'Come in again' }).click();
      await isIn(bo);
      await member(li, 'Bo').waitFor();
    },
    TIMEOUT,
  );

  it(
    'throws out nobody for a form of another site',
    async () => {
      const site = await startSite();
      const li = await enter(site, 'Li');
      const bo = await enter(site, 'Bo');
      const user = await member(li, 'Bo').locator('[name=user]').inputValue();
      const csrf = await bo.locator('[name=csrf]').first().inputValue();
      for (const form of [{ user }, { user, csrf }, { user, 'csrf[]': csrf }]) {
        const answer = await li.context().request.post(site.url, { form });
        expect(answer.status()).toBe(400);
        expect(await answer.text()).toContain('This form is too old.');
      }
      expect(await bo.evaluate('room.state')).toBe('open');
    },
    TIMEOUT,
  );

  it(
    'says in a sentence that Postroom does not answer, and that a secret is missing',
    async () => {
      const site = await startSite({ JWT_SECRET: 'short' });
      const page = await openPage();
      await page.goto(site.url);
      await say(page, 'Li');
      await page.getByText(/token\(\) needs the option jwtSecret/).waitFor();
      expect(await page.locator('#state').textContent()).not.toContain('<');

      await site.postroom.stop();
      const answer = await page.reload();
      expect(answer?.status()).toBe(503);
      expect(await page.getByRole('alert').textContent()).toContain(site.postroom.url);
      expect(await page.locator('main, script[src]').count()).toBe(0);
    },
    TIMEOUT,
  );

  it(
    'says that the connection is lost, and comes back by itself',
    async () => {
      const site = await startSite();
      const li = await enter(site, 'Li');
      await site.postroom.stop('SIGKILL');
      await li.getByText('The connection is lost.').waitFor();
      await startProcess({
        NOTIFY_KEYS: KEY,
        JWT_SECRET,
        JOURNAL: 'memory',
        PORT: String(site.postroom.port),
      });
      await li.getByText('Live', { exact: true }).waitFor({ timeout: 40_000 });
      expect(await names(li)).toEqual(['Li']);
    },
    TIMEOUT,
  );
});
