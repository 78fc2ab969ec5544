import { describe, expect, it } from '@jest/globals';
import type { Page, PageRequest } from '../../src/model/page.js';
import { type Client, type Core, startCore, turn } from './fakes.js';

// More than one turn of the event loop is for.
const MANY = 20_000;

async function names<T>(
  pageAt: (request: PageRequest) => Promise<Page<T>>,
  limit: number,
): Promise<string[]> {
  const all: string[] = [];
  for (let more = true; more; ) {
    const page = await pageAt({ limit, after: all.at(-1) });
    more = page.more;
    // Otherwise nobody could go on from here.
    if (more) expect(page.items.length).toBeGreaterThan(0);
    all.push(...page.items.map(([name]) => name));
  }
  return all;
}

/** Connections in the room `a`, which knows them in the order of their ids. */
function crowd(core: Core): Client[] {
  const clients = Array.from({ length: MANY }, () => core.connect());
  clients.sort((one, two) => (one.connection.id < two.connection.id ? -1 : 1));
  for (const { connection } of clients) core.postroom.subscribe(connection, 'a');
  return clients;
}

describe('lists of what is on a node', () => {
  it('go on when all of a page have gone while it was made', async () => {
    const core = await startCore();
    const { inventory } = core.postroom;
    const clients = crowd(core);
    const [first, second] = clients;
    const asked = inventory.connections({ room: 'a' }, { limit: 1 });
    await turn();
    // It was found, and it is gone before it is reported.
    if (first !== undefined) core.postroom.disconnect(first.connection, 'client');
    const page = await asked;
    expect(page).toMatchObject({ items: [[second?.connection.id, {}]], more: true });
  });

  it('name no room that nobody is in any more', async () => {
    const core = await startCore();
    const { inventory } = core.postroom;
    const clients = crowd(core);
    const last = core.connect({ rooms: ['b'] });
    const stays = core.connect({ rooms: ['c'] });
    const asked = inventory.rooms('', { limit: 3 }, true);
    await turn();
    core.postroom.disconnect(last.connection, 'client');
    const { items } = await asked;
    expect(items.map(([room]) => room)).toEqual(['a', 'c']);
    expect(items[0]?.[1].connections).toBe(clients.length);
    expect(core.postroom.isIn(stays.connection, 'c')).toBe(true);
  });

  it('are cut before they have more than a megabyte, and go on behind the cut', async () => {
    const core = await startCore();
    const long = (room: number) => `${String(room).padStart(4, '0')}${'x'.repeat(190)}`;
    const rooms = Array.from({ length: 1000 }, (_, room) => long(room));
    // 200 kB each
    const ids = Array.from({ length: 12 }, () => core.connect({ rooms }).connection.id).sort();
    const { inventory } = core.postroom;
    const page = await inventory.connections({}, { limit: 1000 });
    expect(JSON.stringify(page).length).toBeLessThan(1.2 * 1024 * 1024);
    expect(page.more).toBe(true);
    expect(await names(request => inventory.connections({}, request), 1000)).toEqual(ids);
  });

  it('of the members of a room say who came last, and how often they are there', async () => {
    let now = 1000;
    const core = await startCore({ clock: { now: () => now, elapsed: () => 0 } });
    const { inventory } = core.postroom;
    core.connect({ user: 'li', info: '{"n":1}', rooms: ['a'] });
    now = 2000;
    core.connect({ user: 'li', info: '{"n":2}', rooms: ['a'] });
    core.connect({ rooms: ['a'] });
    core.connect({ user: 'elsewhere', rooms: ['b'] });
    for (let user = 0; user < 3000; user++) core.connect({ user: `u${user}`, rooms: ['a'] });
    expect(await inventory.members('a', { limit: 1 })).toEqual({
      items: [['li', { info: '{"n":2}', at: 2000, node: 'one', connections: 2 }]],
      more: true,
    });
    const all = await names(request => inventory.members('a', request), 1000);
    expect(all).toHaveLength(3001);
    expect(all).toEqual([...new Set(all)].sort());
  });

  it('of the rooms of a user are in order and end at a thousand', async () => {
    const core = await startCore();
    const rooms = Array.from({ length: 1500 }, (_, room) => `r${String((room * 7) % 1500).padStart(4, '0')}`);
    core.connect({ user: 'li', rooms: rooms.slice(0, 800) });
    core.connect({ user: 'li', rooms: rooms.slice(700) });
    expect(await core.postroom.inventory.user('li')).toEqual({
      connections: 2,
      rooms: [...rooms].sort().slice(0, 1000),
    });
    expect(await core.postroom.inventory.user('nobody')).toEqual({ connections: 0, rooms: [] });
  });
});
