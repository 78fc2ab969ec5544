import { expect, it } from '@jest/globals';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { type OpenedPage, openPage, openSite } from '../support/browser.js';
import { connect } from '../support/client.js';
import { runPhp, runShell } from '../support/commands.js';
import { byConnection, type Example, folder, type Node, startExample } from '../support/example-cluster.js';
import { reportOf, untilReport } from '../support/health.js';
import { post } from '../support/notify.js';
import { snippet } from '../support/readme.js';
import { describeWith } from '../support/requires.js';
import { KEY } from '../support/server.js';

const ROOM = 'public.orders';

/** A page of another site, with the servers' browser client. It is open when this resolves. */
async function openListener({ url }: Example): Promise<OpenedPage> {
  const page = await openPage();
  await page.goto(
    await openSite(`<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><ol></ol>
      <script src="${url}/client.js"></script>
      <script>
        const room = postroom('${url}/ws?room=${ROOM}');
        window.lost = 0;
        room.onlost = () => lost++;
        room.on('*', (data, { event }) => {
          const item = document.createElement('li');
          item.textContent = event + ' ' + JSON.stringify(data);
          document.querySelector('ol').append(item);
        });
      </script>`),
  );
  await page.waitForFunction('room.state === "open"');
  return page;
}

describeWith(['own-redis', 'nginx', 'php', 'chromium', 'curl'], 'examples/cluster/run.sh', () => {
  it(
    'shows in a browser that came through nginx what PHP posts to the other node, also when its own is killed',
    async () => {
      const example = await startExample('nginx');
      const page = await openListener(example);
      const [its, other] = await byConnection(example);
      expect((await reportOf(other)).connections).toBe(0);
      const direct = await connect(`${other.url.replace('http', 'ws')}/ws?room=${ROOM}`);
      await direct.nextOf('subscribed');
      const shown = page.locator('li');

      const php = await runPhp(snippet('php-curl'), { POSTROOM_URL: other.url, POSTROOM_KEY: KEY });
      expect(php).toMatchObject({ code: 0, stderr: '' });
      expect(JSON.parse(php.stdout)).toMatchObject({ connections: 2, duplicate: false });
      await shown.nth(0).waitFor();

      process.kill(its.pid, 'SIGKILL');
      await post(other, { room: ROOM, event: 'meanwhile' }).expect(200);
      await shown.nth(1).waitFor();
      await page.waitForFunction('room.state === "open"');
      expect((await reportOf(other)).connections).toBe(2);
      // Nobody may notice that one node is gone: nginx finds the other, even for paths that only this machine may use.
      const large = 'x'.repeat(90_000);
      await post(example, { room: ROOM, event: 'through-nginx', data: large }).expect(200);
      await shown.nth(2).waitFor();
      expect((await shown.allTextContents()).map(text => text.split(' ')[0])).toEqual([
        'order.paid',
        'meanwhile',
        'through-nginx',
      ]);
      expect(await page.evaluate('lost')).toBe(0);
    },
    BROKER_TIMEOUT,
  );
});

describeWith(['own-redis', 'nginx', 'curl'], 'examples/cluster/nginx.conf', () => {
  it(
    'passes on the page, the client and the WebSocket, and nothing that operators see',
    async () => {
      const { url, nodes } = await startExample('nginx');
      expect(await statusOf(`${url}/`)).toBe(200);
      expect(await statusOf(`${url}/client.mjs`)).toBe(200);
      expect(await statusOf(`${url}/health`)).toBe(404);
      expect(await statusOf(`${url}/health/ready`)).toBe(404);
      await spreads(url, nodes);
    },
    BROKER_TIMEOUT,
  );
});

describeWith(['own-redis', 'haproxy', 'curl'], 'examples/cluster/haproxy.cfg', () => {
  it('is accepted by HAProxy', async () => {
    const where = 'LISTEN=127.0.0.1:8080 NODE_1=127.0.0.1:8081 NODE_2=127.0.0.1:8082 LOCAL=127.0.0.0/8';
    const checked = await runShell(`PATH=$PATH:/usr/sbin ${where} haproxy -c -f '${folder}/haproxy.cfg'`);
    expect(checked).toMatchObject({ code: 0, stderr: '' });
    expect(checked.stdout).toMatch(/valid/);
  });

  it(
    'passes WebSockets on to both nodes, and to the one that is left',
    async () => {
      const { url, nodes } = await startExample('haproxy');
      expect(await statusOf(`${url}/`)).toBe(200);
      expect(await statusOf(`${url}/client.js`)).toBe(200);
      expect(await statusOf(`${url}/health`)).toBe(404);
      await spreads(url, nodes);
      process.kill(nodes[0].pid, 'SIGKILL');
      const client = await connect(`${url.replace('http', 'ws')}/ws?room=${ROOM}`);
      await client.nextOf('subscribed');
      // A post on a connection to the dead node is answered with 502. The node may have taken it, so it is sent again.
      const again = { room: ROOM, event: 'through-haproxy', key: 'once' };
      while ((await post({ url }, again)).status !== 200);
      expect(await client.next()).toMatchObject({ event: 'through-haproxy' });
      await client.quiet();
    },
    BROKER_TIMEOUT,
  );
});

async function statusOf(url: string): Promise<number> {
  return (await fetch(url)).status;
}

/** Checks that two clients come to two nodes, and hear what is posted to each node. */
async function spreads(url: string, nodes: readonly [Node, Node]): Promise<void> {
  const clients = [];
  for (let count = 0; count < 2; count++) {
    const client = await connect(`${url.replace('http', 'ws')}/ws?room=${ROOM}`);
    await client.nextOf('subscribed');
    clients.push(client);
  }
  for (const node of nodes) await untilReport(node, ({ connections }) => connections === 1);
  for (const node of nodes) {
    const answer = await post(node, { room: ROOM, event: 'e' }).expect(200);
    expect(answer.body).toMatchObject({ connections: 2 });
    for (const client of clients) expect(await client.next()).toMatchObject({ id: answer.body.id });
  }
}
