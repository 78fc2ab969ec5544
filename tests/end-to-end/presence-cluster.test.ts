import { expect, it } from '@jest/globals';
import { php } from '../clients-php/php.js';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { type OpenedPage, openPage, openSite } from '../support/browser.js';
import { connect, token } from '../support/client.js';
import { byConnection, type Example, type Node, startExample } from '../support/example-cluster.js';
import { reportOf } from '../support/health.js';
import { describeWith } from '../support/requires.js';

const ROOM = 'presence.chat';
const STAFF = 'presence.staff';

const tokenOf = (sub: string) => token({ sub, rooms: [ROOM], info: { name: sub.toUpperCase() } });

/** A user's page on another site. It shows who is in both rooms, and keeps who came and left. It is open. */
async function openMember({ url }: Example, user: string): Promise<OpenedPage> {
  const page = await openPage();
  await page.goto(
    await openSite(`<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
      <p id="chat"></p><p id="staff"></p><p id="fault"></p>
      <script src="${url}/client.js"></script>
      <script>
        const room = postroom('${url}/ws?room=${ROOM}', { token: () => '${tokenOf(user)}' });
        const told = { chat: [], staff: [] };
        const opened = [];
        room.onstate = state => state === 'open' && opened.push(room.connection);
        room.onerror = ({ code, room }) => { document.querySelector('#fault').textContent = [code, room].join(' '); };
        for (const name of ['chat', 'staff']) {
          const members = room.members('presence.' + name);
          members.onjoined = ({ user }) => told[name].push(user + ' came');
          members.onleft = ({ user }) => told[name].push(user + ' left');
          members.onchange = () => {
            const all = (members.list ?? []).map(({ user, info }) => user + '=' + info.name);
            document.querySelector('#' + name).textContent = all.sort().join(' ');
          };
        }
      </script>`),
  );
  await page.waitForFunction('opened.length === 1');
  return page;
}

/** Waits until the page shows exactly these members. */
async function shows(page: OpenedPage, text: string, where = 'chat'): Promise<void> {
  await page.waitForFunction(
    `document.querySelector('#${where}').textContent === '${text}'`,
    undefined,
    // Longer than the lease of a node and the grace together.
    { timeout: 30_000 },
  );
}

const told = (page: OpenedPage, room = 'chat') => page.evaluate(`told.${room}`);

/** What PHP is told by a node: members, and connections with their nodes, each with its walk's word on the whole. */
function listedBy(node: Node) {
  return php<{
    members: [user: string, name: string, connections: number][];
    nodes: Record<string, string>;
    rooms: object[];
    online: Record<string, number>;
    whole: boolean;
  }>(
    `$members = $postroom->members('${ROOM}');
     $connections = $postroom->connections(['room' => '${ROOM}']);
     $answer = ['members' => [], 'nodes' => []];
     foreach ($members as $one) $answer['members'][] = [$one['user'], $one['info']['name'], $one['connections']];
     foreach ($connections as $one) $answer['nodes'][$one['user']] = $one['node'];
     $online = $postroom->online(['li', 'bo', 'zo']);
     return $answer + [
       'rooms' => iterator_to_array($postroom->rooms()),
       'online' => $online['online'],
       'whole' => !$members->getReturn() && !$connections->getReturn() && empty($online['partial']),
     ];`,
    { url: node.url },
  );
}

const removed = (user: string, { url }: Node) => php(`return $postroom->removeUser('${user}');`, { url });

describeWith(['own-redis', 'nginx', 'php', 'chromium', 'curl'], 'presence on two nodes behind nginx', () => {
  it(
    'two browsers see each other come and go, also when one node is killed; PHP lists and throws out',
    async () => {
      const example = await startExample('nginx');
      const li = await openMember(example, 'li');
      const [staying, dying] = await byConnection(example);
      const bo = await openMember(example, 'bo');
      for (const node of example.nodes) expect((await reportOf(node)).connections).toBe(1);
      for (const page of [li, bo]) await shows(page, 'bo=BO li=LI');
      // No page: it does not come back.
      const mo = await connect(`${dying.url.replace('http', 'ws')}/ws?room=${ROOM}&token=${tokenOf('mo')}`);
      await mo.nextOf('subscribed');
      for (const page of [li, bo]) await shows(page, 'bo=BO li=LI mo=MO');

      for (const node of example.nodes) {
        const listed = await listedBy(node);
        expect(listed).toEqual({
          members: [
            ['bo', 'BO', 1],
            ['li', 'LI', 1],
            ['mo', 'MO', 1],
          ],
          nodes: { li: expect.any(String), bo: expect.any(String), mo: expect.any(String) },
          rooms: [{ room: ROOM, connections: 3, users: 3 }],
          online: { li: 1, bo: 1, zo: 0 },
          whole: true,
        });
        expect(listed.nodes.mo).toBe(listed.nodes.bo);
        expect(listed.nodes.li).not.toBe(listed.nodes.bo);
      }

      const assigned = `return [$postroom->join('li', '${STAFF}'), $postroom->join('bo', '${STAFF}')];`;
      expect(await php(assigned, { url: staying.url })).toEqual([{ connections: 1 }, { connections: 1 }]);
      for (const page of [li, bo]) await shows(page, 'bo=BO li=LI', 'staff');

      process.kill(dying.pid, 'SIGKILL');
      await bo.waitForFunction('opened.length === 2', undefined, { timeout: 30_000 });
      for (const page of [li, bo]) await shows(page, 'bo=BO li=LI');
      // Bo was put into the room for the connection that is gone.
      await shows(li, 'li=LI', 'staff');
      const after = await listedBy(staying);
      expect(after).toMatchObject({
        members: [
          ['bo', 'BO', 1],
          ['li', 'LI', 1],
        ],
        online: { li: 1, bo: 1, zo: 0 },
        whole: true,
      });
      expect(after.nodes.bo).toBe(after.nodes.li);

      expect(await removed('bo', staying)).toEqual({ removed: 1 });
      await bo.getByText('4503').waitFor();
      expect(await bo.evaluate('room.state')).toBe('closed');
      await shows(li, 'li=LI');
      // Each came once and left once: in Li's eyes, Bo never left while the page came back.
      expect(await told(li)).toEqual(['bo came', 'mo came', 'mo left', 'bo left']);
      expect(await told(li, 'staff')).toEqual(['bo came', 'bo left']);
      expect(await told(bo)).toEqual(['mo came', 'mo left']);
      expect(await removed('bo', staying)).toEqual({ removed: 0 });
    },
    BROKER_TIMEOUT,
  );

  it(
    'a user with a tab on each node is one member, who leaves with the last tab; PHP throws out both',
    async () => {
      const example = await startExample('nginx');
      const li = await openMember(example, 'li');
      const [its] = await byConnection(example);
      const tabs = [];
      for (const { url } of example.nodes) {
        const address = `${url.replace('http', 'ws')}/ws?room=${ROOM}&token=${tokenOf('bo')}`;
        tabs.push(await connect(address));
      }
      for (const tab of tabs) await tab.nextOf('subscribed');
      await shows(li, 'bo=BO li=LI');
      expect(await listedBy(its)).toMatchObject({
        members: [
          ['bo', 'BO', 2],
          ['li', 'LI', 1],
        ],
        online: { bo: 2 },
        rooms: [{ room: ROOM, connections: 3, users: 2 }],
      });
      expect(await removed('bo', its)).toEqual({ removed: 2 });
      for (const tab of tabs) expect((await tab.closed).code).toBe(4503);
      await shows(li, 'li=LI');
      expect(await told(li)).toEqual(['bo came', 'bo left']);
    },
    BROKER_TIMEOUT,
  );
});
