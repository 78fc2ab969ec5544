import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { openClient, settle } from './fakes.js';

describe('a lost connection', () => {
  it('is opened again with the last id that came in any frame', async () => {
    const world = await openClient();
    expect(world.socket.query.has('since')).toBe(false);
    world.socket.welcome({ id: '100-0' });
    world.socket.lose();
    await world.clock.advance(1_000);
    expect(world.socket.query.get('since')).toBe('100-0');
    world.socket.welcome({ id: '100-0', recovered: true });
    world.socket.notify('101-3');
    world.socket.lose();
    await world.clock.advance(2_000);
    expect(world.socket.query.get('since')).toBe('101-3');
    world.socket.welcome({ id: '101-3', recovered: true });
    world.socket.receive({ type: 'subscribed', room: 'b', id: '102-0' });
    world.socket.receive({ type: 'pong' });
    world.socket.lose();
    await world.clock.advance(4_000);
    expect(world.socket.query.get('since')).toBe('102-0');
    expect(world.socket.query.get('rooms')).toBe('a');
  });

  it('that ended before the welcome is opened again with the cursor from before', async () => {
    const world = await openClient({ since: '5-0' });
    world.socket.lose();
    await world.clock.advance(1_000);
    expect(world.socket.query.get('since')).toBe('5-0');
  });

  it('brings what came before, again, only once', async () => {
    const world = await openClient();
    world.socket.welcome();
    for (const id of ['101-0', '102-0']) world.socket.notify(id);
    world.socket.lose();
    await world.clock.advance(1_000);
    world.socket.welcome({ id: '100-0', recovered: true });
    for (const id of ['101-0', '102-0', '103-0']) world.socket.notify(id);
    expect(world.heard.map(({ id }) => id)).toEqual(['101-0', '102-0', '103-0']);
    expect(world.losses()).toBe(0);
  });

  it('has no id until the next welcome, and goes through the states', async () => {
    const { room, clock, sockets, states } = await openClient();
    expect([room.state, room.connection]).toEqual(['connecting', undefined]);
    sockets[0]?.welcome({ connection: '1.2' });
    expect([room.state, room.connection]).toEqual(['open', '1.2']);
    sockets[0]?.lose();
    expect([room.state, room.connection]).toEqual(['waiting', undefined]);
    await clock.advance(1_000);
    sockets[1]?.welcome({ connection: '3.4' });
    expect(room.connection).toBe('3.4');
    room.close();
    expect(room.connection).toBeUndefined();
    expect(states).toEqual(['open', 'waiting', 'connecting', 'open', 'closed']);
  });

  it('that is not over yet says nothing any more once the next one has begun', async () => {
    const { sockets, clock, heard, room } = await openClient();
    const [first] = sockets;
    first?.welcome();
    first?.lose();
    await clock.advance(1_000);
    first?.notify('101-0');
    first?.lose(4503);
    expect(heard).toEqual([]);
    expect(room.state).toBe('connecting');
    expect(sockets).toHaveLength(2);
  });
});

describe('the next attempt', () => {
  const delaysOf = async (random: () => number, attempts: number) => {
    const world = await openClient({ random });
    const delays: number[] = [];
    for (let attempt = 0; attempt < attempts; attempt++) {
      world.socket.lose();
      const [delay = Number.NaN] = world.clock.due;
      expect(world.clock.due).toHaveLength(1);
      delays.push(delay);
      await world.clock.advance(delay);
      expect(world.sockets).toHaveLength(attempt + 2);
    }
    return delays;
  };

  it('comes after at most a time that doubles up to a bound', async () => {
    expect(await delaysOf(() => 1, 8)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  it('comes at any time up to that, so that those who fell together do not return together', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1 }),
        async draws => {
          let drawn = 0;
          const delays = await delaysOf(() => draws[drawn++ % draws.length] ?? 0, 7);
          for (const [attempt, delay] of delays.entries()) {
            const bound = Math.min(30_000, 1_000 * 2 ** attempt);
            expect(delay).toBeCloseTo(bound * (draws[attempt % draws.length] ?? 0), 0);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it('forgets the failures before a connection that lasted', async () => {
    const { sockets, clock } = await openClient();
    for (const wait of [1_000, 2_000, 4_000]) {
      sockets.at(-1)?.lose();
      await clock.advance(wait);
    }
    sockets.at(-1)?.welcome();
    await clock.advance(10_000);
    sockets.at(-1)?.lose();
    expect(clock.due).toEqual([1_000]);
  });

  it('waits ever longer where connections open and end at once', async () => {
    const { sockets, clock } = await openClient();
    for (const wait of [1_000, 2_000, 4_000]) {
      sockets.at(-1)?.welcome();
      sockets.at(-1)?.lose(4408);
      expect(clock.due).toEqual([wait]);
      await clock.advance(wait);
    }
  });

  it('is not hindered by a WebSocket that cannot be made', async () => {
    let made = 0;
    const Unmakeable = class {
      constructor() {
        made++;
        throw new SyntaxError('not a subprotocol');
      }
    } as never;
    const { clock, faults, room } = await openClient({ WebSocket: Unmakeable });
    expect(faults).toMatchObject([{ code: 'socket', message: 'SyntaxError: not a subprotocol' }]);
    expect(room.state).toBe('waiting');
    await clock.advance(1_000);
    expect(made).toBe(2);
  });
});

describe('close codes', () => {
  it.each([1000, 1001, 1005, 1006, 1011, 1012, 1013, 3000, 4000, 4400, 4401, 4408, 4429, 4499])(
    '%d: comes back, and is no fault',
    async code => {
      const { socket, sockets, clock, faults, room } = await openClient();
      socket.welcome();
      socket.lose(code, 'so');
      expect(room.state).toBe('waiting');
      await clock.advance(1_000);
      expect(sockets).toHaveLength(2);
      expect(faults).toEqual([]);
    },
  );

  it.each([4500, 4501, 4503, 4999])('%d: stays away and tells', async code => {
    const { socket, sockets, clock, window, faults, room } = await openClient();
    socket.welcome();
    socket.lose(code, 'removed');
    expect(room.state).toBe('closed');
    expect(faults).toEqual([{ code, message: 'removed' }]);
    window.dispatchEvent(new Event('online'));
    await clock.advance(3_600_000);
    expect(clock.due).toEqual([]);
    expect(sockets).toHaveLength(1);
  });

  it.each([1003, 1008, 1009])('%d: tells, and comes back slowly', async code => {
    for (const [random, wait] of [
      [0, 30_000],
      [1, 60_000],
    ] as const) {
      const { socket, sockets, clock, faults } = await openClient({ random: () => random });
      socket.welcome();
      socket.lose(code, 'too many errors');
      expect(faults).toEqual([{ code, message: 'too many errors' }]);
      await clock.advance(wait - 1);
      expect(sockets).toHaveLength(1);
      await clock.advance(1);
      expect(sockets).toHaveLength(2);
    }
  });
});

describe('a past that is gone', () => {
  it('is told, once a connection, after the connection is open', async () => {
    const world = await openClient();
    world.socket.welcome();
    world.socket.lose(4408);
    await world.clock.advance(1_000);
    const told: string[] = [];
    world.room.onlost = () => told.push(world.room.state);
    world.socket.welcome({ id: '900-0', recovered: false });
    world.socket.receive({ type: 'subscribed', room: 'a', id: '900-0', recovered: false });
    expect(told).toEqual(['open']);
    expect(world.room.cursor).toBe('900-0');
  });

  it('is not told on the first connection, which asked for none', async () => {
    const { socket, losses } = await openClient();
    socket.welcome();
    socket.receive({ type: 'subscribed', room: 'a', id: '100-0' });
    expect(losses()).toBe(0);
  });

  it('is told on the first connection of a page that came with a cursor', async () => {
    const { socket, losses } = await openClient({ since: '5-0' });
    socket.welcome({ recovered: false });
    expect(losses()).toBe(1);
  });

  it('is not told where it is not gone', async () => {
    const { socket, losses } = await openClient({ since: '5-0' });
    socket.welcome({ recovered: true });
    expect(losses()).toBe(0);
  });
});

describe('close()', () => {
  it.each(['connecting', 'open', 'waiting'])('ends it for good while %s', async state => {
    const { room, socket, sockets, clock, window, heard, states } = await openClient();
    if (state !== 'connecting') socket.welcome();
    if (state === 'waiting') socket.lose();
    expect(room.state).toBe(state);

    room.close();
    room.close();

    expect(socket.released).toBe(true);
    expect(clock.due).toEqual([]);
    socket.notify('101-0');
    socket.lose();
    window.dispatchEvent(new Event('online'));
    await settle();
    expect(sockets).toHaveLength(1);
    expect(heard).toEqual([]);
    expect(states.filter(entered => entered === 'closed')).toHaveLength(1);
  });

  it('holds when a token comes after it', async () => {
    let give = (_: string) => {};
    const token = () => new Promise<string>(resolve => (give = resolve));
    const { room, sockets, clock } = await openClient({ token });
    room.close();
    give('x.y.z');
    await settle();
    expect(sockets).toEqual([]);
    expect(clock.due).toEqual([]);
  });

  it.each(['open', 'waiting', 'connecting'])('may be called when told that it is %s', async wanted => {
    const { room, sockets, clock } = await openClient();
    room.onstate = state => {
      if (state === wanted) room.close();
    };
    sockets[0]?.welcome();
    sockets[0]?.lose();
    await clock.advance(1_000);
    expect(room.state).toBe('closed');
    expect(clock.due).toEqual([]);
    expect(sockets.every(({ released }) => released || wanted === 'connecting')).toBe(true);
    expect(sockets).toHaveLength(1);
  });

  it('may be called by a handler, and when told of a loss', async () => {
    const first = await openClient();
    first.room.on('event', () => first.room.close());
    first.socket.welcome();
    first.socket.notify('101-0');
    const second = await openClient({ since: '5-0' });
    second.room.onlost = () => second.room.close();
    second.socket.welcome({ recovered: false });
    for (const { room, clock } of [first, second]) {
      expect(room.state).toBe('closed');
      expect(clock.due).toEqual([]);
    }
  });
});
