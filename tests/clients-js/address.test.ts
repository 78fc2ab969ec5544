import { describe, expect, it } from '@jest/globals';
import { postroom } from '../../clients/js/src/postroom.js';
import { FakeSocket, openClient } from './fakes.js';

describe('the address', () => {
  it('joins the rooms of the url and of the options', async () => {
    const { socket } = await openClient(
      { rooms: ['d', 'ä b/ü;='] },
      'ws://server/ws?room=a&room=b&rooms=c,d',
    );
    expect(socket.query.get('rooms')).toBe('a,b,c,d,ä b/ü;=');
    expect(socket.query.has('room')).toBe(false);
  });

  it('asks for a name with a comma as the one name that it is', async () => {
    const { socket } = await openClient({ rooms: ['b,c'] }, 'ws://server/ws?room=a&room=d,e');
    expect(socket.query.getAll('room')).toEqual(['d,e', 'b,c']);
    expect(socket.query.getAll('rooms')).toEqual(['a']);
  });

  it('keeps whatever else the url says', async () => {
    const { socket } = await openClient({}, 'ws://server:81/ws?tenant=7&room=a&debug=%26#top');
    expect(socket.url).toBe('ws://server:81/ws?tenant=7&debug=%26&rooms=a');
  });

  it('has no query where there is nothing to say', async () => {
    const { socket } = await openClient({}, 'wss://server/ws');
    expect(socket.url).toBe('wss://server/ws');
  });

  it.each([
    ['http://server/ws', 'ws://server/ws'],
    ['https://server/ws', 'wss://server/ws'],
  ])('%s is %s', async (given, opened) => {
    expect((await openClient({}, given)).socket.url).toBe(opened);
  });

  it('takes a cursor from before, by the url or by the options', async () => {
    expect((await openClient({ since: '5-0' })).socket.query.get('since')).toBe('5-0');
    const byUrl = await openClient({}, 'ws://server/ws?since=6-0');
    expect(byUrl.socket.url).toBe('ws://server/ws?since=6-0');
    expect(byUrl.room.cursor).toBe('6-0');
    const both = await openClient({ since: '7-0' }, 'ws://server/ws?since=6-0');
    expect(both.socket.query.getAll('since')).toEqual(['7-0']);
  });

  it('asks for the protocol by name, and carries no token', async () => {
    const { socket } = await openClient({ token: () => 'x.y.z' });
    expect(socket.protocols).toEqual(['postroom.v1', 'bearer.x.y.z']);
    expect(socket.url).not.toContain('x.y.z');
    expect((await openClient({ token: async () => null })).socket.protocols).toEqual(['postroom.v1']);
    expect((await openClient()).socket.protocols).toEqual(['postroom.v1']);
  });

  it('is refused at once where it is none', () => {
    expect(() => postroom('/ws', { WebSocket: FakeSocket })).toThrow('Invalid URL');
  });

  it('needs a WebSocket', () => {
    const had = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
    Object.defineProperty(globalThis, 'WebSocket', { value: undefined, configurable: true });
    try {
      expect(() => postroom('ws://server/ws')).toThrow('options.WebSocket');
    } finally {
      if (had === undefined) Reflect.deleteProperty(globalThis, 'WebSocket');
      else Object.defineProperty(globalThis, 'WebSocket', had);
    }
  });
});

describe('rooms', () => {
  it('are joined and left on the open connection', async () => {
    const { room, socket } = await openClient();
    socket.welcome();
    room.subscribe('b');
    room.unsubscribe('a');
    expect(socket.sent).toEqual([
      { type: 'subscribe', room: 'b' },
      { type: 'unsubscribe', room: 'a', ref: 'left' },
    ]);
  });

  it('that changed while connecting are joined and left at the welcome', async () => {
    const { room, socket, losses } = await openClient({ rooms: ['b'], since: '5-0' });
    room.subscribe('c');
    room.unsubscribe('b');
    expect(socket.sent).toEqual([]);
    socket.welcome({ recovered: true });
    expect(socket.sent).toEqual([
      { type: 'subscribe', room: 'c' },
      { type: 'unsubscribe', room: 'b', ref: 'left' },
    ]);
    expect(losses()).toBe(0);
  });

  it('that changed while away are in the next address', async () => {
    const world = await openClient({ rooms: ['b'] });
    world.socket.welcome();
    world.socket.lose();
    world.room.unsubscribe('a');
    world.room.subscribe('c');
    await world.clock.advance(1_000);
    expect(world.socket.query.get('rooms')).toBe('b,c');
  });

  it('that are refused, or taken away by a new token, are told', async () => {
    const { socket, faults } = await openClient({ rooms: ['b'] });
    socket.welcome();
    socket.receive({ type: 'error', code: 'forbidden', message: 'This room needs a token.', room: 'b' });
    socket.receive({ type: 'unsubscribed', room: 'a' });
    expect(faults).toMatchObject([
      { code: 'forbidden', message: 'This room needs a token.', room: 'b' },
      { code: 'forbidden', room: 'a' },
    ]);
  });

  it('that the application leaves are no fault, even if it comes back at once', async () => {
    const { room, socket, faults } = await openClient();
    socket.welcome();
    room.unsubscribe('a');
    room.subscribe('a');
    socket.receive({ type: 'unsubscribed', room: 'a', ref: socket.sent[0]?.ref });
    socket.receive({ type: 'subscribed', room: 'a', id: '101-0' });
    expect(faults).toEqual([]);
  });

  describe('too many for an address', () => {
    const rooms = Array.from({ length: 100 }, (_, number) => `${number}`.padEnd(200, 'ä'));

    it('are joined at the welcome', async () => {
      const { socket, losses } = await openClient({ rooms });
      expect(socket.url.length).toBeLessThan(5_000);
      socket.welcome();
      const asked = socket.sent.map(({ type, room }) => (type === 'subscribe' ? room : undefined));
      expect([...(socket.query.get('rooms') ?? '').split(','), ...asked]).toEqual(['a', ...rooms]);
      expect(socket.sent.every(({ type }) => type === 'subscribe')).toBe(true);
      expect(losses()).toBe(0);
    });

    it('have no past when they come back, which is told once all are joined', async () => {
      const { sockets, clock, losses } = await openClient({ rooms });
      sockets[0]?.welcome();
      sockets[0]?.lose();
      await clock.advance(1_000);
      const [, socket] = sockets;
      socket?.welcome({ recovered: true });
      const last = socket?.sent.at(-1);
      expect(last?.type).toBe('ping');
      socket?.receive({ type: 'subscribed', room: rooms.at(-1), id: '101-0' });
      expect(losses()).toBe(0);
      socket?.receive({ type: 'pong', ref: last?.ref });
      expect(losses()).toBe(1);
    });

    it('are told once where nothing could be replayed anyway', async () => {
      const { socket, losses } = await openClient({ rooms, since: '5-0' });
      socket.welcome({ recovered: false });
      expect(losses()).toBe(0);
      socket.receive({ type: 'pong', ref: socket.sent.at(-1)?.ref });
      expect(losses()).toBe(1);
    });
  });
});
