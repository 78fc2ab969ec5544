import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import { type OpenedPage, openPage, openSite } from '../support/browser.js';
import { token as sign } from '../support/client.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { describeWith } from '../support/requires.js';
import { areInOrder, type Heard, InsistentPublisher } from '../support/resuming.js';
import { JWT_SECRET, KEY } from '../support/server.js';

const KILLS = 5;
const PUBLISHERS = 3;
const environment = { NOTIFY_KEYS: KEY, JWT_SECRET, JOURNAL: 'disk' };

function built(file: string): string {
  const path = new URL(`../../dist/client/${file}`, import.meta.url);
  if (!existsSync(path)) throw new Error(`${path.pathname} is missing: npm run build`);
  return readFileSync(path, 'utf8');
}

/** For a page without a bundler, and for a page with modules. Both make it `window.postroom`. */
const scripts = {
  'a plain script': `<script>${built('postroom.global.js')}</script>`,
  'a module': `<script type="module">
    import { postroom } from 'data:text/javascript;base64,${Buffer.from(built('postroom.js')).toString('base64')}';
    Object.assign(window, { postroom });
  </script>`,
};

/** A visitor's page on another origin than the server's. Its client is open when this resolves. */
async function openListener(
  server: ServerProcess,
  options = '{}',
  script = scripts['a plain script'],
): Promise<OpenedPage> {
  const page = await openPage();
  await page.goto(
    await openSite(`<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">${script}
      <script type="module">
        window.heard = [];
        window.told = [];
        const room = postroom('${server.url}/ws?room=public.a', ${options});
        room.on('*', (data, { id }) => heard.push({ id, data }));
        room.onstate = state => told.push(state);
        room.onlost = () => told.push('lost');
        room.onerror = fault => told.push(fault);
        window.room = room;
      </script>`),
  );
  await page.waitForFunction('window.room?.state === "open"');
  return page;
}

async function post(server: ServerProcess, notification: object): Promise<unknown> {
  const response = await fetch(`${server.url}/notify`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ event: 'event', ...notification }),
  });
  expect(response.status).toBe(200);
  return response.json();
}

describeWith(['chromium'], 'the client in a browser', () => {
  it.each(Object.entries(scripts))('hears as %s, also what is for its user', async (_, script) => {
    const server = await startProcess(environment);
    const token = sign({ sub: '42', rooms: ['private'] });
    const page = await openListener(server, `{ rooms: ['private'], token: async () => '${token}' }`, script);
    await post(server, { room: 'public.a', data: 'for all' });
    await post(server, { room: 'private', data: 'for members' });
    await post(server, { user: 42, data: 'for you' });
    await page.waitForFunction('heard.length === 3');
    expect(await page.evaluate('heard.map(({ data }) => data)')).toEqual([
      'for all',
      'for members',
      'for you',
    ]);
    expect(await page.evaluate('told')).toEqual(['open']);
    expect(page.faults).toEqual([]);
  });

  it(`misses nothing and doubles nothing while the server is killed ${KILLS} times`, async () => {
    let server = await startProcess(environment);
    const { url, port, directory } = server;
    const pages = [
      await openListener(server, '{ random: () => Math.random() / 25 }'),
      await openListener(server, `{ token: () => '${sign({ sub: '42' })}', random: () => 0.02 }`),
    ];
    let stopping = false;
    let published = 0;
    let notice = () => {};
    const publishers = Array.from({ length: PUBLISHERS }, () => new InsistentPublisher(() => url, KEY));
    const publishing = publishers.map(async (publisher, index) => {
      for (let number = 0; !stopping; number++) {
        await publisher.publish('public.a', `${index}:${number}`);
        published++;
        notice();
      }
    });
    const publishedMore = async (count: number) => {
      const enough = published + count;
      while (published < enough)
        await new Promise<void>(resolve => {
          notice = resolve;
        });
    };

    for (let kill = 0; kill < KILLS; kill++) {
      // Every page is connected again, so each kill hits an open connection.
      for (const page of pages) await page.waitForFunction('room.state === "open"');
      await publishedMore(100);
      await server.stop('SIGKILL');
      server = await startProcess({ ...environment, PORT: String(port) }, directory);
    }
    await publishedMore(50);
    stopping = true;
    await Promise.all(publishing);

    const accepted = new Map(publishers.flatMap(publisher => [...publisher.accepted]));
    for (const page of pages) {
      await page.waitForFunction(`heard.length >= ${accepted.size}`);
      const heard = await page.evaluate<Heard[]>('heard');
      expect(new Map(heard.map(({ id, data }) => [data, id]))).toEqual(accepted);
      expect(heard).toHaveLength(accepted.size);
      expect(areInOrder(heard)).toBe(true);
      const told = await page.evaluate<unknown[]>('told');
      expect(told.filter(state => state === 'open')).toHaveLength(KILLS + 1);
      expect(new Set(told)).toEqual(new Set(['open', 'waiting', 'connecting']));
    }
  }, 60_000);

  it('says so when the past is gone', async () => {
    const settings = { ...environment, JOURNAL: 'memory' };
    const first = await startProcess(settings);
    const page = await openListener(first, '{ random: () => 0.1 }');
    await post(first, { room: 'public.a', data: 'before' });
    await page.waitForFunction('heard.length === 1');
    await first.stop('SIGKILL');
    const second = await startProcess({ ...settings, PORT: String(first.port) });
    await page.waitForFunction('told.includes("lost")');
    await post(second, { room: 'public.a', data: 'after' });
    await page.waitForFunction('heard.length === 2');
    expect(await page.evaluate('told.filter(what => what === "lost").length')).toBe(1);
  });

  it('hears after a sleep what came meanwhile', async () => {
    let server = await startProcess(environment);
    const page = await openListener(server);
    // While the debugger stops the page, neither its timers nor its events run, as in a frozen tab.
    const debug = await page.context().newCDPSession(page);
    await debug.send('Debugger.enable');
    const asleep = new Promise(resolve => debug.once('Debugger.paused', resolve));
    const awake = debug.send('Runtime.evaluate', { expression: 'debugger' });
    await asleep;
    const { port, directory } = server;
    await server.stop('SIGKILL');
    server = await startProcess({ ...environment, PORT: String(port) }, directory);
    await post(server, { room: 'public.a', data: 'meanwhile' });
    await debug.send('Debugger.resume');
    await awake;
    await page.waitForFunction('heard.length === 1');
    expect(await page.evaluate('heard[0].data')).toBe('meanwhile');
    expect(await page.evaluate('told')).toEqual(['open', 'waiting', 'connecting', 'open']);
  });

  it('checks its link as soon as the network is back', async () => {
    const server = await startProcess(environment);
    const page = await openPage();
    const opened = page.waitForEvent('websocket');
    await page.goto(
      await openSite(`<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
        ${scripts['a plain script']}<script>window.room = postroom('${server.url}/ws?room=public.a')</script>`),
    );
    const socket = await opened;
    await page.waitForFunction('room.state === "open"');
    const asked = socket.waitForEvent('framesent', ({ payload }) => payload === '{"type":"ping"}');
    await page.context().setOffline(true);
    await page.context().setOffline(false);
    await asked;
    expect(await page.evaluate('room.state')).toBe('open');
  });

  it('reports a handler that throws, calls the others and goes on', async () => {
    const server = await startProcess(environment);
    const page = await openListener(server);
    await page.evaluate(
      `room.on('event', () => { throw new Error('oops') }); room.on('event', () => told.push('called'))`,
    );
    await post(server, { room: 'public.a' });
    await post(server, { room: 'public.a' });
    await page.waitForFunction('heard.length === 2');
    expect(await page.evaluate('told')).toEqual(['open', 'called', 'called']);
    expect(page.faults).toEqual(['Error: oops', 'Error: oops']);
  });

  it('reports a promise that rejects once, also for a notification that asks to be acknowledged', async () => {
    const server = await startProcess(environment);
    const page = await openListener(server);
    await page.evaluate(`room.on('event', async () => { throw new Error('oops') })`);
    await post(server, { room: 'public.a' });
    await post(server, { room: 'public.a', ack: 60 });
    const answer = await post(server, { room: 'public.a', event: 'other', ack: 60, wait: 30 });
    expect(answer).toMatchObject({ connections: 1, acknowledged: 1 });
    await page.waitForFunction('heard.length === 3');
    expect(page.faults).toEqual(['Error: oops', 'Error: oops']);
  });

  it('prints faults on the console where nobody takes them', async () => {
    const server = await startProcess(environment);
    const page = await openPage();
    const printed = page.waitForEvent('console', message => message.type() === 'error');
    await page.goto(
      await openSite(`<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
        ${scripts['a plain script']}<script>postroom('${server.url}/ws?room=private')</script>`),
    );
    expect((await printed).text()).toContain('forbidden');
  });

  it('takes the address of its own server relative to the page', async () => {
    const server = await startProcess(environment);
    const page = await openPage();
    const opened = page.waitForEvent('websocket');
    await page.goto(`${server.url}/health/live`);
    await page.evaluate(built('postroom.global.js'));
    const state = await page.evaluate(`new Promise(resolve => {
      postroom('/ws?room=public.b').onstate = resolve;
    })`);
    expect(state).toBe('open');
    expect((await opened).url()).toBe(`ws://127.0.0.1:${server.port}/ws?rooms=public.b`);
  });
});
