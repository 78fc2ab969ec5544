import { afterEach, describe, expect, it } from '@jest/globals';
import { Installation, type InstallationOptions } from './installation.js';

let installation: Installation;

afterEach(async () => {
  for (const { core, cluster } of installation.nodes) {
    expect(core.failures).toEqual([]);
    await cluster.stop();
  }
});

async function start(nodes: number, options: InstallationOptions = {}): Promise<void> {
  installation = await Installation.start(nodes, options);
}

/** Opens a page in the room `p`, and waits until everybody has been told. */
async function enter(node: number, user: string | undefined, info?: string) {
  const page = installation.open(node, user, info);
  page.join('p');
  await installation.pass(100);
  return page;
}

function many(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `u${index}`);
}

describe('a member of a presence room', () => {
  it('gets the list, hears who comes and goes, and nothing of itself', async () => {
    await start(1);
    const ann = await enter(0, 'ann', '{"n":1}');
    expect(ann.read()).toEqual(['subscribed p', 'members p ann {"n":1}']);
    const bob = await enter(0, 'bob');
    expect(bob.read()).toEqual(['subscribed p', 'members p ann {"n":1}, bob']);
    expect(ann.read()).toEqual(['joined p bob']);
    bob.leave('p');
    await installation.pass(2900);
    expect(ann.read()).toEqual([]);
    await installation.pass(200);
    expect(ann.read()).toEqual(['left p bob']);
    expect(bob.read()).toEqual(['unsubscribed p']);
  });

  it('joins with the first connection and leaves with the last, on whichever nodes they are', async () => {
    await start(2, { graceMs: 0 });
    const ann = await enter(0, 'ann');
    ann.read();
    const first = await enter(0, 'bob');
    const second = await enter(0, 'bob');
    const third = await enter(1, 'bob');
    expect(ann.read()).toEqual(['joined p bob']);
    expect(third.read()).toEqual(['subscribed p', 'members p ann, bob']);
    first.end();
    second.end();
    await installation.pass(100);
    expect(ann.read()).toEqual([]);
    third.leave('p');
    await installation.pass(100);
    expect(ann.read()).toEqual(['left p bob']);
  });

  it('has never left if it is back within the grace, which begins anew each time', async () => {
    await start(1);
    const ann = await enter(0, 'ann');
    const bob = await enter(0, 'bob');
    ann.read();
    bob.leave('p');
    await installation.pass(2000);
    const again = await enter(0, 'bob');
    expect(again.read()).toEqual(['subscribed p', 'members p ann, bob']);
    again.end();
    await installation.pass(2800);
    expect(ann.read()).toEqual([]);
    expect(installation.membersOf(0, 'p')).toEqual({ ann: '', bob: '' });
    await installation.pass(300);
    expect(ann.read()).toEqual(['left p bob']);
  });

  it('leaves at once if it leaves a thousand rooms within the grace', async () => {
    await start(1);
    const bob = installation.open(0, 'bob');
    for (let room = 0; room < 1500; room++) {
      bob.join(`p${room}`);
      bob.leave(`p${room}`);
    }
    const there = () => Array.from({ length: 1500 }, (_, room) => installation.membersOf(0, `p${room}`).bob);
    await installation.pass(100);
    expect(there().filter(info => info !== undefined)).toHaveLength(1000);
    await installation.pass(3000);
    expect(there().filter(info => info !== undefined)).toHaveLength(0);
    // Then it has its grace again.
    bob.join('p1');
    bob.leave('p1');
    await installation.pass(2000);
    expect(installation.membersOf(0, 'p1')).toEqual({ bob: '' });
  });

  it('may change the node within the grace', async () => {
    await start(2);
    const ann = await enter(0, 'ann');
    const bob = await enter(1, 'bob');
    ann.read();
    bob.end();
    await installation.pass(1000);
    await enter(0, 'bob');
    await installation.pass(10_000);
    expect(ann.read()).toEqual([]);
  });

  it('has the info of the connection that came last, and the others are told of another one', async () => {
    await start(2);
    const ann = await enter(0, 'ann');
    const bob = await enter(1, 'bob', '{"n":1}');
    ann.read();
    const second = await enter(0, 'bob', '{"n":2}');
    expect(ann.read()).toEqual(['changed p bob {"n":2}']);
    bob.identify('bob', '{"n":3}');
    await installation.pass(100);
    expect(ann.read()).toEqual(['changed p bob {"n":3}']);
    expect(second.read().at(-1)).toBe('changed p bob {"n":3}');
    for (const node of [0, 1]) expect(installation.membersOf(node, 'p')).toEqual({ ann: '', bob: '{"n":3}' });
  });

  it('is nobody without a user, and sees nobody, until it gets one', async () => {
    await start(1);
    const ann = await enter(0, 'ann');
    ann.read();
    const page = await enter(0, undefined);
    expect(page.read()).toEqual(['subscribed p']);
    await enter(0, 'cem');
    expect(page.read()).toEqual([]);
    expect(ann.read()).toEqual(['joined p cem']);
    page.identify('bob', '{"n":1}');
    await installation.pass(100);
    expect(page.read()).toEqual(['members p ann, cem, bob {"n":1}']);
    expect(ann.read()).toEqual(['joined p bob {"n":1}']);
  });

  it('is told of many changes at once, one write for all', async () => {
    await start(1);
    const ann = await enter(0, 'ann');
    await enter(0, 'bob');
    const before = ann.client.socket.writes;
    ann.read();
    for (const user of many(100)) {
      installation.open(0, user).join('p');
      await installation.pass(1);
    }
    await installation.pass(100);
    expect(ann.read()).toHaveLength(100);
    expect(ann.client.socket.writes - before).toBeLessThan(6);
    expect(ann.faults).toEqual([]);
  });

  it('that comes with many others in one moment knows all of them, as they do', async () => {
    await start(1);
    const ann = await enter(0, 'ann');
    const pages = many(40).map(user => installation.open(0, user));
    for (const page of pages) page.join('p');
    await installation.pass(200);
    for (const page of [ann, ...pages]) {
      page.read();
      expect([...(page.rooms.get('p')?.members?.keys() ?? [])].sort()).toEqual(['ann', ...many(40)].sort());
      expect(page.faults).toEqual([]);
    }
  });

  it('that does not keep up gets the whole list when it has room again', async () => {
    await start(1, { maxBufferedBytes: 100 });
    const ann = await enter(0, 'ann');
    ann.read();
    ann.client.socket.stall();
    for (const user of many(50)) await enter(0, user);
    expect(ann.read().length).toBeLessThan(20);
    expect(ann.client.socket.waiting).toBeLessThanOrEqual(100);
    ann.client.socket.flow();
    await installation.pass(100);
    expect(ann.read().at(-1)).toBe(`members p ${['ann', ...many(50)].join(', ')}`);
    expect(ann.faults).toEqual([]);
  });
});

describe('a room with too many members', () => {
  it('is told by its count, at most every 2 s, until it is below three quarters again', async () => {
    await start(1, { maxMembers: 8, graceMs: 0 });
    const ann = await enter(0, 'ann');
    const pages = [];
    for (const user of many(7)) pages.push(await enter(0, user));
    ann.read();
    pages.push(await enter(0, 'u7'));
    expect(ann.read()).toEqual(['count p 9']);
    const late = await enter(0, 'late');
    expect(late.read()).toEqual(['subscribed p', 'count p 9']);
    for (const user of many(20).slice(10)) pages.push(await enter(0, user));
    expect(ann.read()).toEqual([]);
    await installation.pass(1000);
    expect(ann.read()).toEqual(['count p 20']);
    for (const page of pages.slice(4)) page.end();
    await installation.pass(2000);
    expect(ann.read()).toEqual(['count p 6']);
    pages[0]?.end();
    await installation.pass(2000);
    expect(ann.read()).toEqual(['members p ann, u1, u2, u3, late']);
    pages[1]?.end();
    await installation.pass(100);
    expect(ann.read()).toEqual(['left p u1']);
    expect([...ann.faults, ...late.faults]).toEqual([]);
  });
});

describe('if a node', () => {
  it('is killed, its members leave once, within its lease and the grace', async () => {
    await start(2);
    const ann = await enter(0, 'ann');
    await enter(1, 'bob');
    await enter(1, 'cem');
    ann.read();
    await installation.kill(1);
    await installation.pass(3000);
    expect(ann.read()).toEqual([]);
    await enter(0, 'cem');
    await installation.pass(5000);
    expect(ann.read()).toEqual(['left p bob']);
  });

  it('is paused for a short time, nothing happens, however often', async () => {
    await start(2);
    const ann = await enter(0, 'ann');
    await enter(1, 'bob');
    ann.read();
    for (let times = 0; times < 5; times++) {
      installation.nodes[1]?.cluster.pause();
      await installation.pass(6000);
      installation.nodes[1]?.cluster.resume();
      await installation.pass(2000);
    }
    expect(ann.read()).toEqual([]);
  });

  it('is paused for long, its members leave once and come back once', async () => {
    await start(2);
    const ann = await enter(0, 'ann');
    const bob = await enter(1, 'bob');
    ann.read();
    bob.read();
    installation.nodes[1]?.cluster.pause();
    await enter(0, 'cem');
    await installation.pass(20_000);
    expect(ann.read()).toEqual(['joined p cem', 'left p bob']);
    installation.nodes[1]?.cluster.resume();
    await installation.pass(5000);
    expect(ann.read()).toEqual(['joined p bob']);
    expect(bob.read()).toEqual(['joined p cem']);
  });

  it('starts later, it learns who is there', async () => {
    await start(1);
    for (const user of many(500)) installation.open(0, user).join('p');
    await installation.addNode();
    await installation.pass(3000);
    expect(Object.keys(installation.membersOf(1, 'p'))).toEqual(many(500).sort());
  });

  it('is unknown for a moment because Redis was restarted, nobody leaves, even without grace', async () => {
    await start(2, { graceMs: 0 });
    const ann = await enter(0, 'ann');
    await enter(1, 'bob');
    ann.read();
    for (let times = 0; times < 5; times++) {
      installation.network.forget();
      await installation.pass(2300);
    }
    expect(ann.read()).toEqual([]);
  });
});
