import { afterEach, describe, expect, it, jest } from '@jest/globals';
import type { Members, Postroom } from '../../clients/js/src/postroom.js';
import { snippet } from '../support/readme.js';
import { openClient, type World } from './fakes.js';

const ROOM = 'presence.chat';
const LI = { user: '1', info: { name: 'Li' } };
const MO = { user: '2', info: { name: 'Mo' } };
const ZO = { user: '3', info: null };

afterEach(() => {
  jest.restoreAllMocks();
});

/** Writes down every call of a handler, and what the list was by then. */
function listen(members: Members): string[] {
  const calls: string[] = [];
  const users = () => members.list?.map(({ user }) => user) ?? members.count ?? 'unknown';
  members.onjoined = ({ user, info }) => calls.push(`joined ${user} ${JSON.stringify(info)}: ${users()}`);
  members.onleft = ({ user, info }) => calls.push(`left ${user} ${JSON.stringify(info)}: ${users()}`);
  members.onchange = () => calls.push(`change: ${users()}`);
  return calls;
}

/** A client that is in the room, with what its handlers were called with since then. */
async function openRoom(list: object[] = [LI, MO]): Promise<World & { members: Members; calls: string[] }> {
  const world = await openClient({ rooms: [ROOM] });
  const members = world.room.members(ROOM);
  world.socket.welcome();
  subscribed(world, list);
  // Not spread: `socket` is a getter, for there may come more.
  return Object.assign(world, { members, calls: listen(members) });
}

function subscribed({ socket }: World, members?: object[], room = ROOM): void {
  socket.receive({ type: 'subscribed', room, id: '100-0', members });
}

/** Cuts the connection and opens the next one, up to its welcome. */
async function comeBack(world: World): Promise<void> {
  world.socket.lose();
  await world.clock.advance(1_000);
  world.socket.welcome();
}

describe('the members of a room', () => {
  it('are not known before the room is joined; the first list is one change', async () => {
    const world = await openClient({ rooms: [ROOM] });
    const members = world.room.members(ROOM);
    const calls = listen(members);
    world.socket.welcome();
    expect([members.list, members.count, calls]).toEqual([undefined, undefined, []]);
    subscribed(world, [LI, MO]);
    expect([members.list, members.count]).toEqual([[LI, MO], 2]);
    expect(calls).toEqual(['change: 1,2']);
  });

  it('may be nobody, which is known', async () => {
    const { members } = await openRoom([]);
    expect([members.list, members.count]).toEqual([[], 0]);
  });

  it('are known also if they are asked for after the room was joined', async () => {
    const world = await openClient({ rooms: [ROOM] });
    world.socket.welcome();
    subscribed(world, [LI]);
    world.socket.receive({ type: 'joined', room: ROOM, ...MO });
    expect(world.room.members(ROOM).list).toEqual([LI, MO]);
  });

  it('may be asked for without joining', async () => {
    const { room, socket } = await openClient();
    room.members(ROOM);
    socket.welcome();
    expect(socket.query.get('rooms')).toBe('a');
    expect(socket.sent).toEqual([]);
  });

  it('are one object for each room', async () => {
    const world = await openRoom();
    expect(world.room.members(ROOM)).toBe(world.members);
    expect(world.room.members('presence.other')).not.toBe(world.members);
    await comeBack(world);
    subscribed(world, [MO]);
    expect(world.room.members(ROOM)).toBe(world.members);
    world.room.unsubscribe(ROOM);
    expect(world.room.members(ROOM)).toBe(world.members);
  });

  it('are told apart by room', async () => {
    const world = await openRoom();
    subscribed(world, [ZO], 'presence.other');
    world.socket.receive({ type: 'left', room: 'presence.other', user: '3' });
    expect(world.members.list).toEqual([LI, MO]);
    expect(world.room.members('presence.other').list).toEqual([]);
    expect(world.calls).toEqual([]);
  });

  it('have no past: the cursor is that of other frames', async () => {
    const { room, socket } = await openRoom();
    socket.notify('101-0');
    socket.receive({ type: 'joined', room: ROOM, ...ZO });
    socket.receive({ type: 'members', room: ROOM, count: 5 });
    expect(room.cursor).toBe('101-0');
  });
});

describe('a change of members', () => {
  it('puts who joins at the end', async () => {
    const { socket, members, calls } = await openRoom([ZO, MO]);
    socket.receive({ type: 'joined', room: ROOM, ...LI });
    expect([members.list, members.count]).toEqual([[ZO, MO, LI], 3]);
    expect(calls).toEqual(['joined 1 {"name":"Li"}: 3,2,1', 'change: 3,2,1']);
  });

  it('takes away who leaves, and tells who it was', async () => {
    const { socket, members, calls } = await openRoom([LI, MO, ZO]);
    socket.receive({ type: 'left', room: ROOM, user: '2' });
    expect([members.list, members.count]).toEqual([[LI, ZO], 2]);
    expect(calls).toEqual(['left 2 {"name":"Mo"}: 1,3', 'change: 1,3']);
  });

  it('of info leaves the member in its place', async () => {
    const { socket, members, calls } = await openRoom();
    socket.receive({ type: 'changed', room: ROOM, user: '1', info: { name: 'Lia' } });
    expect(members.list).toEqual([{ user: '1', info: { name: 'Lia' } }, MO]);
    socket.receive({ type: 'changed', room: ROOM, user: '1', info: null });
    expect(members.list).toEqual([{ user: '1', info: null }, MO]);
    expect(calls).toEqual(['change: 1,2', 'change: 1,2']);
  });

  it('makes a fresh list, and nothing else does', async () => {
    const { socket, members } = await openRoom();
    const lists = [members.list];
    expect(members.list).toBe(lists[0]);
    for (const frame of [
      { type: 'joined', room: ROOM, ...ZO },
      { type: 'changed', room: ROOM, user: '3', info: { name: 'Zo' } },
      { type: 'left', room: ROOM, user: '3' },
      { type: 'members', room: ROOM, members: [LI, MO] },
    ]) {
      socket.receive(frame);
      expect(lists).not.toContain(members.list);
      lists.push(members.list);
    }
    expect(lists[0]).toEqual([LI, MO]);
    socket.notify('101-0');
    expect(members.list).toBe(lists.at(-1));
  });

  it('of somebody who is not there is none', async () => {
    const { socket, members, calls } = await openRoom();
    const { list } = members;
    socket.receive({ type: 'left', room: ROOM, user: '3' });
    expect(members.list).toBe(list);
    expect(calls).toEqual([]);
  });

  it('of an unknown list makes no list', async () => {
    const { room, socket } = await openClient();
    const members = room.members(ROOM);
    const calls = listen(members);
    socket.welcome();
    socket.receive({ type: 'joined', room: ROOM, ...LI });
    socket.receive({ type: 'changed', room: ROOM, ...LI });
    socket.receive({ type: 'left', room: ROOM, user: '1' });
    expect([members.list, members.count, calls]).toEqual([undefined, undefined, []]);
  });

  it('goes where handlers are missing', async () => {
    const { socket, members } = await openRoom();
    members.onjoined = members.onleft = members.onchange = undefined;
    socket.receive({ type: 'joined', room: ROOM, ...ZO });
    socket.receive({ type: 'left', room: ROOM, user: '1' });
    expect(members.list).toEqual([MO, ZO]);
  });
});

describe('a room with too many members', () => {
  it('says how many, not who', async () => {
    const { socket, members, calls } = await openRoom();
    socket.receive({ type: 'members', room: ROOM, count: 4711 });
    expect([members.list, members.count]).toEqual([undefined, 4711]);
    socket.receive({ type: 'members', room: ROOM, count: 4712 });
    expect(calls).toEqual(['change: 4711', 'change: 4712']);
  });

  it('makes no noise with the same count', async () => {
    const { socket, calls } = await openRoom();
    for (let time = 0; time < 2; time++) socket.receive({ type: 'members', room: ROOM, count: 4711 });
    expect(calls).toEqual(['change: 4711']);
  });

  it('is joined without a list, and its count follows', async () => {
    const world = await openClient({ rooms: [ROOM] });
    const members = world.room.members(ROOM);
    const calls = listen(members);
    world.socket.welcome();
    subscribed(world);
    expect(calls).toEqual([]);
    world.socket.receive({ type: 'members', room: ROOM, count: 4711 });
    expect([members.list, members.count, calls]).toEqual([undefined, 4711, ['change: 4711']]);
  });

  it('that had fewer before the connection was lost: the last list stays until the count comes', async () => {
    const world = await openRoom();
    await comeBack(world);
    subscribed(world);
    expect([world.members.list, world.members.count]).toEqual([[LI, MO], 2]);
    world.socket.receive({ type: 'members', room: ROOM, count: 4711 });
    expect([world.members.list, world.members.count]).toEqual([undefined, 4711]);
    expect(world.calls).toEqual(['change: 4711']);
  });

  it('says who again once there are few: that is a first list', async () => {
    const { socket, members, calls } = await openRoom();
    socket.receive({ type: 'members', room: ROOM, count: 4711 });
    socket.receive({ type: 'members', room: ROOM, members: [ZO, LI] });
    expect([members.list, members.count]).toEqual([[ZO, LI], 2]);
    expect(calls).toEqual(['change: 4711', 'change: 3,1']);
  });
});

describe('a whole list', () => {
  it('that comes anew is compared with the one before', async () => {
    const { socket, members, calls } = await openRoom();
    const li = { user: '1', info: { name: 'Lia' } };
    socket.receive({ type: 'members', room: ROOM, members: [ZO, li] });
    expect([members.list, members.count]).toEqual([[ZO, li], 2]);
    expect(calls).toEqual(['left 2 {"name":"Mo"}: 3,1', 'joined 3 null: 3,1', 'change: 3,1']);
  });

  it('that comes after a lost connection is compared with the last one, which stays meanwhile', async () => {
    const world = await openRoom();
    world.socket.lose();
    expect([world.members.list, world.members.count]).toEqual([[LI, MO], 2]);
    await world.clock.advance(1_000);
    world.socket.welcome();
    expect([world.members.list, world.members.count]).toEqual([[LI, MO], 2]);
    expect(world.calls).toEqual([]);
    subscribed(world, [MO, ZO]);
    expect(world.members.list).toEqual([MO, ZO]);
    expect(world.calls).toEqual(['left 1 {"name":"Li"}: 2,3', 'joined 3 null: 2,3', 'change: 2,3']);
  });

  it('is given up where the room is refused when the client comes back', async () => {
    const world = await openRoom();
    await comeBack(world);
    world.socket.receive({ type: 'error', code: 'forbidden', message: 'No.', room: ROOM });
    expect([world.members.list, world.members.count]).toEqual([undefined, undefined]);
    expect(world.calls).toEqual(['change: unknown']);
  });

  it('stays where something else is refused in the room', async () => {
    const { socket, members } = await openRoom();
    socket.receive({ type: 'error', code: 'forbidden', message: 'No.', room: ROOM, ref: 1 });
    socket.receive({ type: 'error', code: 'forbidden', message: 'No.', room: 'presence.other' });
    expect(members.list).toEqual([LI, MO]);
  });
});

describe('a room that is left', () => {
  it('has no known members, from the call on', async () => {
    const { room, socket, members, calls } = await openRoom();
    room.unsubscribe(ROOM);
    expect([members.list, members.count]).toEqual([undefined, undefined]);
    socket.receive({ type: 'joined', room: ROOM, ...ZO });
    socket.receive({ type: 'unsubscribed', room: ROOM, ref: socket.sent.at(-1)?.ref });
    expect([members.list, members.count]).toEqual([undefined, undefined]);
    expect(calls).toEqual(['change: unknown']);
  });

  it('has none either if a list was on its way', async () => {
    const world = await openRoom();
    world.room.unsubscribe(ROOM);
    world.socket.receive({ type: 'members', room: ROOM, members: [LI, MO, ZO] });
    world.socket.receive({ type: 'unsubscribed', room: ROOM, ref: world.socket.sent.at(-1)?.ref });
    expect([world.members.list, world.members.count]).toEqual([undefined, undefined]);
  });

  it('has none either if the connection was lost before the answer', async () => {
    const world = await openRoom();
    world.room.unsubscribe(ROOM);
    world.socket.receive({ type: 'members', room: ROOM, count: 4711 });
    await comeBack(world);
    expect([world.members.list, world.members.count]).toEqual([undefined, undefined]);
  });

  it('has no count any more where that was all that was known', async () => {
    const { room, socket, members } = await openRoom();
    socket.receive({ type: 'members', room: ROOM, count: 4711 });
    room.unsubscribe(ROOM);
    expect(members.count).toBeUndefined();
  });

  it('has none either if it is left while the connection is lost', async () => {
    const world = await openRoom();
    world.socket.lose();
    world.room.unsubscribe(ROOM);
    expect(world.members.list).toBeUndefined();
    expect(world.calls).toEqual(['change: unknown']);
  });

  it('and joined again has a first list', async () => {
    const world = await openRoom();
    world.room.unsubscribe(ROOM);
    world.room.subscribe(ROOM);
    world.socket.receive({ type: 'unsubscribed', room: ROOM, ref: world.socket.sent.at(-2)?.ref });
    subscribed(world, [ZO]);
    expect(world.members.list).toEqual([ZO]);
    expect(world.calls).toEqual(['change: unknown', 'change: 3']);
    expect(world.faults).toEqual([]);
  });
});

describe('the backend', () => {
  it('may put the connection into a room: its members are known', async () => {
    const world = await openClient();
    world.socket.welcome();
    subscribed(world, [LI]);
    expect(world.room.members(ROOM).list).toEqual([LI]);
    expect(world.faults).toEqual([]);
  });

  it('may take it out: that is told in words that are right, and nobody is known', async () => {
    const { socket, members, calls, faults } = await openRoom();
    socket.receive({ type: 'unsubscribed', room: ROOM });
    expect(faults).toEqual([
      {
        code: 'forbidden',
        message: 'A new token forbids it, or the backend took this connection out of it.',
        room: ROOM,
      },
    ]);
    expect([members.list, members.count]).toEqual([undefined, undefined]);
    expect(calls).toEqual(['change: unknown']);
  });

  it.each([
    ['stayed', false],
    ['was taken out', true],
  ])('put only that connection into it: the next one does not ask for it, where it %s', async (_, out) => {
    const world = await openClient();
    world.socket.welcome();
    subscribed(world, [LI]);
    subscribed(world, undefined, 'b');
    if (out) for (const room of [ROOM, 'b']) world.socket.receive({ type: 'unsubscribed', room });
    await comeBack(world);
    expect(world.socket.query.get('rooms')).toBe('a');
    expect(world.socket.sent).toEqual([]);
    expect(world.room.members(ROOM).list).toBeUndefined();
  });

  it('takes it out of a room that the application asked for until the next connection', async () => {
    const world = await openRoom();
    world.socket.receive({ type: 'unsubscribed', room: ROOM });
    await comeBack(world);
    expect(world.socket.query.get('rooms')).toBe(`a,${ROOM}`);
    subscribed(world, [ZO]);
    expect(world.calls).toEqual(['change: unknown', 'change: 3']);
  });
});

describe('a handler of members that throws', () => {
  it('is reported as usual, and holds up nothing', async () => {
    const { room, socket, members, heard } = await openRoom();
    const reports: (() => void)[] = [];
    jest.spyOn(globalThis, 'queueMicrotask').mockImplementation(report => reports.push(report));
    const calls: string[] = [];
    const failing = (name: string) => () => {
      calls.push(name);
      throw new Error(name);
    };
    members.onjoined = failing('joined');
    members.onleft = failing('left');
    members.onchange = failing('change');

    socket.receive({ type: 'members', room: ROOM, members: [ZO, { user: '4', info: null }] });

    const called = ['left', 'left', 'joined', 'joined', 'change'];
    expect(calls).toEqual(called);
    expect(reports).toHaveLength(called.length);
    for (const [index, report] of reports.entries()) expect(report).toThrow(called[index]);
    socket.notify('101-0');
    expect(heard).toHaveLength(1);
    expect(() => room.unsubscribe(ROOM)).not.toThrow();
    expect(members.list).toBeUndefined();
  });

  it('may close the client, which stays closed', async () => {
    const world = await openClient();
    world.socket.welcome();
    subscribed(world, [LI]);
    world.room.members(ROOM).onchange = () => world.room.close();
    await comeBack(world);
    expect(world.room.state).toBe('closed');
  });
});

it('the snippet of the README shows who is there', async () => {
  const world = await openClient();
  const shown: unknown[] = [];
  const run: (room: Postroom, show: (what: unknown) => void) => void = new Function(
    'room',
    'show',
    snippet('members', 'clients/js/README.md'),
  ) as never;
  run(world.room, what => shown.push(what));
  world.socket.welcome();
  expect(world.socket.sent).toEqual([{ type: 'subscribe', room: ROOM }]);
  subscribed(world, [LI, ZO]);
  world.socket.receive({ type: 'joined', room: ROOM, ...MO });
  world.socket.receive({ type: 'left', room: ROOM, user: '1' });
  world.socket.receive({ type: 'members', room: ROOM, count: 4711 });
  expect(shown).toEqual([['Li', '3'], 'Mo came', ['Li', '3', 'Mo'], 'Li left', ['3', 'Mo'], '4711 members']);
});
