import { describe, expect, it } from '@jest/globals';
import type { Postroom } from '../../clients/js/src/postroom.js';
import { snippet } from '../support/readme.js';
import { FakeClock, jwtUntil, openClient, settle, type World } from './fakes.js';

/** A client whose connection is open. */
async function openWelcomed(...args: Parameters<typeof openClient>): Promise<World> {
  const world = await openClient(...args);
  world.socket.welcome();
  return world;
}

/** How a promise has ended by now: a value, an error, or `pending`. */
async function endOf(promise: Promise<unknown>): Promise<unknown> {
  const end = promise.catch((error: unknown) => error);
  await settle();
  return Promise.race([end, Promise.resolve('pending')]);
}

const CLOSED = { code: 'closed', message: 'There was no connection, or it was lost before the answer came.' };
const requests = [
  ['publish', (room: Postroom) => room.publish('chat.1', 'typing', { on: true })],
  ['call', (room: Postroom) => room.call('cart.add', { article: 7 })],
] as const;

describe('publish', () => {
  it('sends the frame and resolves to the id of the notification', async () => {
    const { room, socket } = await openWelcomed();
    const published = room.publish('chat.1', 'typing', { on: true });
    expect(socket.sent).toEqual([
      { type: 'publish', room: 'chat.1', event: 'typing', data: { on: true }, ref: 1 },
    ]);
    expect(await endOf(published)).toBe('pending');
    socket.receive({ type: 'published', ref: 1, id: '105-0' });
    expect(await published).toEqual({ id: '105-0' });
  });

  it('sends the ttl if there is one, also 0', async () => {
    const { room, socket } = await openWelcomed();
    for (const options of [{ ttl: 60 }, { ttl: 0 }, {}]) room.publish('a', 'e', 1, options).catch(() => {});
    expect(socket.sent.map(({ ttl }) => ttl)).toEqual([60, 0, undefined]);
  });

  it('leaves the cursor where it is: what came before it may still be on its way', async () => {
    const world = await openWelcomed();
    const published = world.room.publish('a', 'e');
    world.socket.receive({ type: 'published', ref: 1, id: '105-0' });
    await published;
    expect(world.room.cursor).toBe('100-0');
    world.socket.lose();
    await world.clock.advance(1_000);
    expect(world.socket.query.get('since')).toBe('100-0');
  });

  it('does not bring to the page what it published, also where the next connection gets it replayed', async () => {
    const world = await openWelcomed();
    const published = world.room.publish('a', 'e', 1, { ttl: 60 });
    world.socket.receive({ type: 'published', ref: 1, id: '105-0' });
    await published;
    world.socket.lose();
    await world.clock.advance(1_000);
    world.socket.welcome({ connection: '3.4', recovered: true });
    world.socket.notify('104-0');
    world.socket.notify('105-0');
    world.socket.notify('106-0');
    expect(world.heard.map(({ id }) => id)).toEqual(['104-0', '106-0']);
  });
});

describe('call', () => {
  it('sends the frame and resolves to the data of the result', async () => {
    const { room, socket } = await openWelcomed();
    const called = room.call<{ count: number }>('cart.add', { article: 7 });
    expect(socket.sent).toEqual([{ type: 'call', event: 'cart.add', data: { article: 7 }, ref: 1 }]);
    expect(await endOf(called)).toBe('pending');
    socket.receive({ type: 'result', ref: 1, data: { count: 3 } });
    expect((await called).count).toBe(3);
  });

  it.each([[null], [0], [''], [false], [[]]])('resolves to %j', async data => {
    const { room, socket } = await openWelcomed();
    const called = room.call('event');
    socket.receive({ type: 'result', ref: 1, data });
    expect(await called).toEqual(data);
  });

  it('has its answer before the handler of the next notification is called', async () => {
    const { room, socket } = await openWelcomed();
    const order: string[] = [];
    room.on('event', () => order.push('notification'));
    const called = room.call('event').then(() => order.push('result'));
    socket.receive({ type: 'result', ref: 1, data: null });
    await settle();
    socket.notify('101-0');
    await called;
    expect(order).toEqual(['result', 'notification']);
  });
});

describe('answers', () => {
  it('end what they answer, in whatever order they come', async () => {
    const { room, socket } = await openWelcomed();
    const asked = [room.call('a'), room.publish('room', 'b'), room.call('c'), room.call('d')];
    expect(socket.sent.map(({ ref }) => ref)).toEqual([1, 2, 3, 4]);
    socket.receive({ type: 'result', ref: 3, data: 'of c' });
    socket.receive({ type: 'error', ref: 4, code: 'call_busy', message: 'Too many calls.' });
    socket.receive({ type: 'published', ref: 2, id: '105-0' });
    expect(await Promise.all(asked.map(endOf))).toMatchObject([
      'pending',
      { id: '105-0' },
      'of c',
      { code: 'call_busy' },
    ]);
    socket.receive({ type: 'result', ref: 1, data: 'of a' });
    expect(await asked[0]).toBe('of a');
  });

  it('that nobody asked for, or that come again, change nothing', async () => {
    const { room, socket, faults, heard } = await openWelcomed();
    const called = room.call('event');
    for (const data of ['first', 'second']) socket.receive({ type: 'result', ref: 1, data });
    socket.receive({ type: 'result', ref: 99, data: 'stray' });
    socket.receive({ type: 'result', data: 'stray' });
    expect(await called).toBe('first');
    expect([faults, heard, room.state]).toEqual([[], [], 'open']);
  });

  it('are signs of life', async () => {
    const { room, socket, clock } = await openWelcomed();
    await clock.advance(24_999);
    const called = room.call('event');
    socket.receive({ type: 'result', ref: 1, data: null });
    await called;
    await clock.advance(24_999);
    expect(socket.sent.map(({ type }) => type)).toEqual(['call']);
  });

  it.each(requests)('that refuse a %s reject it with the code, and are no fault', async (_, ask) => {
    const { room, socket, faults } = await openWelcomed();
    const asked = ask(room);
    socket.receive({ type: 'error', ref: 1, code: 'rate_limited', message: 'Too many.', room: 'chat.1' });
    const error = await endOf(asked);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ code: 'rate_limited', message: 'Too many.' });
    expect(faults).toEqual([]);
  });

  it('to other frames are not taken for these, nor these for those', async () => {
    const { room, socket, faults } = await openWelcomed({ token: () => 'x.y.z' });
    room.unsubscribe('a');
    const called = room.call('event');
    socket.receive({ type: 'unsubscribed', room: 'a', ref: 'left' });
    socket.receive({ type: 'error', code: 'forbidden', message: 'No.', room: 'b' });
    socket.receive({ type: 'token', expires: 4_000_000_000, ref: 'token' });
    socket.receive({ type: 'pong' });
    socket.receive({ type: 'error', code: 'invalid_token', message: 'No.', ref: 'token' });
    expect(await endOf(called)).toBe('pending');
    expect(faults.map(({ code }) => code)).toEqual(['forbidden', 'invalid_token']);
  });
});

describe.each(requests)('%s without a connection', (_, ask) => {
  it('rejects at once while it is connecting, and sends nothing later', async () => {
    const { room, socket } = await openClient();
    const asked = ask(room);
    const error = await endOf(asked);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject(CLOSED);
    socket.welcome();
    expect(socket.sent).toEqual([]);
  });

  it('rejects at once while it waits for the next attempt, and sends nothing later', async () => {
    const world = await openWelcomed();
    world.socket.lose();
    expect(await endOf(ask(world.room))).toMatchObject(CLOSED);
    await world.clock.advance(1_000);
    world.socket.welcome();
    expect(world.sockets.map(({ sent }) => sent)).toEqual([[], []]);
  });

  it('rejects at once when it is closed', async () => {
    const { room, socket } = await openWelcomed();
    room.close();
    expect(await endOf(ask(room))).toMatchObject(CLOSED);
    expect(socket.sent).toEqual([]);
  });

  it('works from the moment that it says that it is open', async () => {
    const { room, socket } = await openClient();
    let asked: Promise<unknown> = Promise.resolve();
    room.onstate = state => {
      if (state === 'open') asked = ask(room);
    };
    socket.welcome();
    socket.receive({ type: 'result', ref: socket.sent[0]?.ref, id: '105-0', data: 'yes' });
    expect(['yes', { id: '105-0' }]).toContainEqual(await endOf(asked));
  });
});

describe.each(requests)('%s whose connection ends before the answer', (_, ask) => {
  it.each<[string, (world: World) => unknown]>([
    ['is lost', ({ socket }) => socket.lose()],
    ['is refused for good', ({ socket }) => socket.lose(4503)],
    ['is closed for a frame that is too large', ({ socket }) => socket.lose(1009)],
    ['is closed by the page', ({ room }) => room.close()],
    ['is dead', ({ clock }) => clock.advance(35_000)],
    [
      'is left for that of another user',
      ({ socket }) => socket.receive({ type: 'error', code: 'forbidden', message: 'No.', ref: 'token' }),
    ],
  ])('rejects: it %s', async (_, end) => {
    const world = await openWelcomed();
    const asked = [ask(world.room), ask(world.room)];
    const ends = Promise.allSettled(asked);
    await end(world);
    const rejected = { status: 'rejected', reason: CLOSED };
    expect(await ends).toMatchObject([rejected, rejected]);
  });

  it('is not sent again, and takes no answer from the next connection', async () => {
    const world = await openWelcomed();
    const lost = ask(world.room);
    world.socket.lose();
    expect(await endOf(lost)).toMatchObject(CLOSED);
    await world.clock.advance(1_000);
    world.socket.welcome();
    expect(world.socket.sent).toEqual([]);
    const next = world.room.call('event');
    world.socket.receive({ type: 'result', ref: 1, data: 'of the first' });
    expect(await endOf(next)).toBe('pending');
    world.socket.receive({ type: 'result', ref: 2, data: 'of the next' });
    expect(await next).toBe('of the next');
  });

  it('rejects after the state has changed, so that the page sees why', async () => {
    const { room, socket } = await openWelcomed();
    const seen = ask(room).catch(() => room.state);
    socket.lose();
    expect(await seen).toBe('waiting');
  });
});

it.each<[string, (room: Postroom) => Promise<unknown>]>([
  ['publish', room => room.publish('a', 'event', { large: 1n })],
  ['call', room => room.call('event', { large: 1n })],
])('%s of what is no JSON rejects, and leaves the client as it was', async (_, ask) => {
  const { room, socket } = await openWelcomed();
  expect(await endOf(ask(room))).toMatchObject({ name: 'TypeError' });
  expect(socket.sent).toEqual([]);
  const next = room.call('event');
  socket.receive({ type: 'result', ref: socket.sent[0]?.ref, data: 1 });
  expect(await next).toBe(1);
});

it('a notification says who published it, if a browser did', async () => {
  const { room, socket } = await openWelcomed();
  const froms: unknown[] = [];
  room.on('typing', (_, { from }) => froms.push(from));
  socket.notify('101-0', 'typing', { from: { connection: '3.4', user: '42' } });
  socket.notify('102-0', 'typing', { from: { connection: '5.6', user: null } });
  socket.notify('103-0', 'typing');
  expect(froms).toEqual([{ connection: '3.4', user: '42' }, { connection: '5.6', user: null }, undefined]);
});

it('a new token changes nothing for what is under way', async () => {
  const clock = new FakeClock();
  const { room, socket } = await openClient({ clock, token: () => jwtUntil(clock.time + 60_000) });
  socket.welcome({ ping: 600 });
  await clock.advance(50_000);
  const called = room.call('event');
  await clock.advance(4_000);
  expect(socket.sent).toMatchObject([
    { type: 'call', ref: 1 },
    { type: 'token', ref: 'token' },
  ]);
  socket.receive({ type: 'result', ref: 1, data: 1 });
  expect(await called).toBe(1);
});

it('the snippet of the README publishes, hears and calls', async () => {
  const { room, socket } = await openWelcomed();
  const shown: unknown[] = [];
  const code = snippet('publish', 'clients/js/README.md');
  const run: (room: Postroom, show: (what: unknown) => void) => void = new Function(
    'room',
    'show',
    code,
  ) as never;
  const show = (what: unknown) => shown.push(what);
  run(room, show);
  socket.notify('101-0', 'typing', { data: { on: true }, from: { connection: '3.4', user: '42' } });
  socket.notify('102-0', 'typing', { data: { on: false } });
  const [published, called] = socket.sent;
  expect([published?.type, called?.type]).toEqual(['publish', 'call']);
  socket.receive({ type: 'error', ref: published?.ref, code: 'rate_limited', message: 'Too many.' });
  socket.receive({ type: 'result', ref: called?.ref, data: { count: 3 } });
  await settle();
  expect(shown).toEqual(['42 types', '3 articles']);
  run(room, show);
  room.close();
  await settle();
  expect(shown.at(-1)).toBe('not added: closed');
});
