import { afterEach, describe, expect, it, jest } from '@jest/globals';
import type { Postroom } from '../../clients/js/src/postroom.js';
import { Recent } from '../../clients/js/src/recent.js';
import { snippet } from '../support/readme.js';
import { type FakeSocket, openClient, settle, type World } from './fakes.js';

afterEach(() => {
  jest.restoreAllMocks();
});

/** A client whose connection is open, with no handlers. */
async function openWelcomed(...args: Parameters<typeof openClient>): Promise<World> {
  const world = await openClient(...args);
  world.deafen();
  world.socket.welcome();
  return world;
}

/** Loses the connection, and opens the next one. */
async function comeBack(world: World): Promise<FakeSocket> {
  const { length } = world.sockets;
  world.socket.lose();
  while (world.sockets.length === length) await world.clock.advance(1_000);
  world.socket.welcome({ connection: '3.4', recovered: true });
  return world.socket;
}

/** The ids that were acknowledged over a socket so far. */
async function acknowledgedOver(socket: FakeSocket): Promise<unknown[]> {
  await settle();
  return socket.sent.filter(({ type }) => type === 'ack').map(({ id }) => id);
}

/** A promise that the test resolves. */
function deferred() {
  let resolve = () => {};
  const promise = new Promise<void>(onResolve => {
    resolve = onResolve;
  });
  return { promise, resolve };
}

describe('a notification that asks for it', () => {
  it('is acknowledged when its handler has returned', async () => {
    const { room, socket } = await openWelcomed();
    room.on('event', () => expect(socket.sent).toEqual([]));
    socket.notify('101-0', 'event', { ack: true });
    await settle();
    expect(socket.sent).toEqual([{ type: 'ack', id: '101-0' }]);
  });

  it('is acknowledged when the promises of all its handlers have resolved', async () => {
    const { room, socket } = await openWelcomed();
    const [first, second] = [deferred(), deferred()];
    room.on('event', () => first.promise);
    room.on('event', () => undefined);
    room.on('*', async () => second.promise);
    socket.notify('101-0', 'event', { ack: true });
    second.resolve();
    expect(await acknowledgedOver(socket)).toEqual([]);
    first.resolve();
    expect(await acknowledgedOver(socket)).toEqual(['101-0']);
  });

  it('does not hold up the ones behind it', async () => {
    const { room, socket } = await openWelcomed();
    const slow = deferred();
    room.on('slow', () => slow.promise);
    room.on('event', () => {});
    socket.notify('101-0', 'slow', { ack: true });
    socket.notify('102-0', 'event', { ack: true });
    expect(await acknowledgedOver(socket)).toEqual(['102-0']);
    slow.resolve();
    expect(await acknowledgedOver(socket)).toEqual(['102-0', '101-0']);
  });

  it('is not acknowledged if one of its handlers throws', async () => {
    const { room, socket } = await openWelcomed();
    const reports: (() => void)[] = [];
    jest.spyOn(globalThis, 'queueMicrotask').mockImplementation(report => reports.push(report));
    const called: string[] = [];
    room.on('event', () => {
      throw new Error('oops');
    });
    room.on('event', () => called.push('called'));
    socket.notify('101-0', 'event', { ack: true });
    expect(await acknowledgedOver(socket)).toEqual([]);
    expect(called).toEqual(['called']);
    expect(reports).toHaveLength(1);
  });

  it('is not acknowledged if no handler is for it: nobody saw it', async () => {
    const { room, socket } = await openWelcomed();
    room.on('other', () => {});
    socket.notify('101-0', 'event', { ack: true });
    expect(await acknowledgedOver(socket)).toEqual([]);
  });

  it('is acknowledged for a handler of all events', async () => {
    const { room, socket } = await openWelcomed();
    room.on('*', () => {});
    socket.notify('101-0', 'event', { ack: true });
    expect(await acknowledgedOver(socket)).toEqual(['101-0']);
  });
});

it('a notification that does not ask for it is not acknowledged', async () => {
  const { room, socket } = await openWelcomed();
  room.on('event', async () => {});
  socket.notify('101-0');
  socket.notify('102-0', 'event', { ack: false });
  expect(await acknowledgedOver(socket)).toEqual([]);
});

describe('after a lost connection', () => {
  it('sends the acknowledgements of the last minute again', async () => {
    const world = await openWelcomed();
    world.room.on('event', () => {});
    for (const id of ['101-0', '102-0', '103-0', '104-0']) {
      world.socket.notify(id, 'event', { ack: true });
      await world.clock.advance(20_000);
    }
    world.room.subscribe('b');
    const socket = await comeBack(world);
    expect(socket.query.get('rooms')).toBe('a,b');
    expect(await acknowledgedOver(socket)).toEqual(['103-0', '104-0']);
    await world.clock.advance(20_000);
    expect(await acknowledgedOver(await comeBack(world))).toEqual(['104-0']);
    await world.clock.advance(20_000);
    expect(await acknowledgedOver(await comeBack(world))).toEqual([]);
  });

  it('sends them behind the rooms that did not fit the address', async () => {
    const world = await openWelcomed();
    world.room.on('event', () => {});
    world.socket.notify('101-0', 'event', { ack: true });
    await settle();
    world.socket.lose();
    await world.clock.advance(1_000);
    world.room.subscribe('b');
    world.socket.welcome({ recovered: true });
    expect(world.socket.sent).toEqual([
      { type: 'subscribe', room: 'b' },
      { type: 'ack', id: '101-0' },
    ]);
  });

  it('sends what was done while there was no connection', async () => {
    const world = await openWelcomed();
    const slow = deferred();
    world.room.on('event', () => slow.promise);
    world.socket.notify('101-0', 'event', { ack: true });
    await settle();
    world.socket.lose();
    slow.resolve();
    await settle();
    expect(await acknowledgedOver(await comeBack(world))).toEqual(['101-0']);
  });

  it('sends what is done later over the next connection, once', async () => {
    const world = await openWelcomed();
    const slow = deferred();
    world.room.on('event', () => slow.promise);
    world.socket.notify('101-0', 'event', { ack: true });
    const socket = await comeBack(world);
    socket.notify('101-0', 'event', { ack: true });
    expect(await acknowledgedOver(socket)).toEqual([]);
    slow.resolve();
    expect(await acknowledgedOver(socket)).toEqual(['101-0']);
  });

  it('sends the last thousand at most', async () => {
    const world = await openWelcomed();
    world.room.on('event', () => {});
    for (let number = 1; number <= 1_500; number++)
      world.socket.notify(`${number}-0`, 'event', { ack: true });
    await settle();
    const ids = await acknowledgedOver(await comeBack(world));
    expect([ids.length, ids[0], ids.at(-1)]).toEqual([1_000, '501-0', '1500-0']);
  });

  it('sends nothing after close', async () => {
    const { room, socket } = await openWelcomed();
    const slow = deferred();
    room.on('event', () => slow.promise);
    socket.notify('101-0', 'event', { ack: true });
    room.close();
    slow.resolve();
    expect(await acknowledgedOver(socket)).toEqual([]);
  });
});

describe('with acknowledge: false', () => {
  it('the page acknowledges by hand, and it is sent again as usual', async () => {
    const world = await openWelcomed({ acknowledge: false });
    world.room.on('event', () => {});
    world.socket.notify('101-0', 'event', { ack: true });
    expect(await acknowledgedOver(world.socket)).toEqual([]);
    world.room.acknowledge('101-0');
    world.room.acknowledge('101-0');
    expect(await acknowledgedOver(world.socket)).toEqual(['101-0']);
    expect(await acknowledgedOver(await comeBack(world))).toEqual(['101-0']);
  });

  it('the snippet of the README acknowledges what was clicked', async () => {
    const { room, socket } = await openWelcomed({ acknowledge: false });
    const button = { hidden: true, onclick: () => {} };
    const run: (room: Postroom, button: object) => void = new Function(
      'room',
      'button',
      snippet('acknowledge', 'clients/js/README.md').replace(/^const room = .*$/m, ''),
    ) as never;
    run(room, button);
    socket.notify('101-0', 'order.paid', { ack: true });
    expect([await acknowledgedOver(socket), button.hidden]).toEqual([[], false]);
    button.onclick();
    expect(await acknowledgedOver(socket)).toEqual(['101-0']);
  });
});

it('what is older than a moment is forgotten', () => {
  const recent = new Recent();
  for (const at of [1, 2, 3]) recent.add(`${at}-0`, at);
  expect([...recent.since(2)]).toEqual(['2-0', '3-0']);
  expect(recent.add('1-0', 4)).toBe(true);
  expect([...recent.since(0)]).toEqual(['2-0', '3-0', '1-0']);
});
