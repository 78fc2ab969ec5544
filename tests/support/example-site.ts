import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, expect } from '@jest/globals';
import type { Page } from 'playwright-core';
import { type Broker, freePort, newDirectory, startBroker } from './broker.js';
import { type OpenedPage, openPage } from './browser.js';
import { runPhp } from './commands.js';
import { WEBHOOK_SECRET } from './receiver.js';
import type { Program } from './requires.js';
import { JWT_SECRET, KEY } from './server.js';

export const SITE_TIMEOUT = 60_000;
export const folder = fileURLToPath(new URL('../../examples/php', import.meta.url));
export const programs: Program[] = ['php', 'php-fpm', 'php-sqlite', 'nginx', 'chromium', 'curl'];

/** nginx, PHP-FPM and Postroom. */
export interface Site {
  /** Where nginx is: page and WebSocket. */
  readonly url: string;
  /** All processes of PHP stand still (SIGSTOP), or go on. */
  pausePhp(): void;
  resumePhp(): void;
  /** What PHP and Postroom have logged. */
  logs(): Promise<string>;
  /** Rows of the site's database. */
  query(sql: string): Promise<unknown[][]>;
}

const running = new Map<Broker, Site>();
afterEach(async () => {
  for (const site of running.values()) site.resumePhp();
  const logs = await Promise.all([...running.values()].map(site => site.logs()));
  await Promise.all([...running.keys()].map(broker => broker.stop()));
  running.clear();
  expect(logs.join('')).not.toMatch(/PHP (Warning|Notice|Deprecated|Fatal)/);
});

/** Runs examples/php/run.sh. Stopped after the test. */
export async function startSite(): Promise<Site> {
  const port = await freePort();
  const broker = await startBroker(port, [
    {
      program: `${folder}/run.sh`,
      args: [],
      directory: newDirectory('site'),
      env: {
        PORT: String(port),
        NOTIFY_KEYS: KEY,
        JWT_SECRET,
        WEBHOOK_SECRET,
      },
      ready: /Ctrl-C ends all of them/,
    },
  ]);
  const printed = (what: string) => new RegExp(`${what} +(\\S+)`).exec(broker.output())?.[1] ?? '';
  const signalPhp = (signal: NodeJS.Signals) =>
    process.kill(-Number.parseInt(printed('PHP-FPM +process'), 10), signal);
  const site: Site = {
    url: `http://127.0.0.1:${port}`,
    pausePhp: () => signalPhp('SIGSTOP'),
    resumePhp: () => signalPhp('SIGCONT'),
    async logs() {
      const files = [...broker.output().matchAll(/logs in (\S+)/g)].map(([, file = '']) => file);
      return broker.output() + (await Promise.all(files.map(file => readFile(file, 'utf8')))).join('');
    },
    async query(sql) {
      const script = `<?php
        $database = new PDO('sqlite:' . getenv('DATABASE'));
        echo json_encode($database->query(getenv('SQL'))->fetchAll(PDO::FETCH_NUM));`;
      const { stdout, stderr } = await runPhp(script, { DATABASE: printed('SQLite'), SQL: sql });
      expect(stderr).toBe('');
      return JSON.parse(stdout);
    },
  };
  running.set(broker, site);
  return site;
}

/** A user in a fresh browser who has logged in, on a page that is connected. */
export async function logIn(
  site: Site,
  name: string,
  to: 'To the chat' | 'To the shop',
): Promise<OpenedPage> {
  const page = await openPage();
  await page.goto(site.url);
  await page.getByLabel('What is your name?').fill(name);
  await page.getByRole('button', { name: to }).click();
  await isLive(page);
  return page;
}

export async function isLive(page: Page): Promise<void> {
  await page.getByText('live', { exact: true }).waitFor();
}
