import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach } from '@jest/globals';
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
} from 'playwright-core';
import { chromiumPath } from './requires.js';

export interface OpenedPage extends Page {
  /** Complaints of the page: console errors (also refusals of the Content-Security-Policy), uncaught exceptions. */
  faults: string[];
}

/** A new page in a fresh profile of a headless Chromium. The browser is started once for each test file. */
export async function openPage(options: BrowserContextOptions = {}): Promise<OpenedPage> {
  browser ??= openBrowser();
  const context = await (await browser).newContext(options);
  contexts.add(context);
  context.setDefaultTimeout(10_000);
  const faults: string[] = [];
  const page = await context.newPage();
  page.on('pageerror', error => faults.push(String(error)));
  page.on('console', message => {
    if (message.type() === 'error') faults.push(message.text());
  });
  return Object.assign(page, { faults });
}

/** Serves one HTML text on an origin of its own: the site whose visitors get notifications. */
export async function openSite(html: string): Promise<string> {
  const site = createServer((_, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8').end(html);
  });
  sites.add(site);
  await new Promise<void>(resolve => site.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}/`;
}

export function openBrowser(): Promise<Browser> {
  const executablePath = chromiumPath();
  if (!executablePath) throw new Error('No chromium in PATH: wrap the suite in describeWith.');
  return chromium.launch({ executablePath, args: flags });
}

/** Without calls home; without a sandbox, because a container's root cannot have one. */
const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

let browser: Promise<Browser> | undefined;
const contexts = new Set<BrowserContext>();
const sites = new Set<Server>();

afterEach(async () => {
  await Promise.all([...contexts].map(context => context.close()));
  contexts.clear();
  for (const site of sites) {
    site.close();
    site.closeAllConnections();
  }
  sites.clear();
});

afterAll(async () => {
  await (await browser)?.close();
});
