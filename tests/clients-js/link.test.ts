import { describe, expect, it } from '@jest/globals';
import { openClient } from './fakes.js';

describe('a silent link', () => {
  it('is asked for a sign of life after the ping interval, and given up without an answer', async () => {
    const { socket, sockets, clock, room } = await openClient();
    socket.welcome({ ping: 25 });
    await clock.advance(24_999);
    expect(socket.sent).toEqual([]);
    await clock.advance(1);
    expect(socket.sent).toEqual([{ type: 'ping' }]);
    await clock.advance(9_999);
    expect(room.state).toBe('open');
    await clock.advance(1);
    expect(room.state).toBe('waiting');
    expect(socket.released).toBe(true);
    await clock.advance(1_000);
    expect(sockets[1]?.query.get('since')).toBe('100-0');
  });

  it('is kept when it answers, with whatever', async () => {
    const { socket, clock, room, losses } = await openClient();
    socket.welcome({ ping: 25 });
    await clock.advance(25_000 + 9_999);
    socket.receive({ type: 'pong' });
    expect(losses()).toBe(0);
    await clock.advance(25_000 + 9_999);
    socket.notify('101-0');
    await clock.advance(25_000);
    expect(socket.sent).toHaveLength(3);
    expect(room.state).toBe('open');
  });

  it('is not asked while frames come', async () => {
    const { socket, clock } = await openClient();
    socket.welcome({ ping: 25 });
    for (let second = 0; second < 100; second += 20) {
      await clock.advance(20_000);
      socket.notify(`${200 + second}-0`);
    }
    expect(socket.sent).toEqual([]);
  });

  it('is given up as fast as the server would', async () => {
    const { socket, clock, room } = await openClient();
    socket.welcome({ ping: 2 });
    await clock.advance(4_000);
    expect(room.state).toBe('waiting');
  });

  it('says nothing any more, even if it was only slow', async () => {
    const { socket, clock, heard } = await openClient();
    socket.welcome({ ping: 25 });
    await clock.advance(35_000);
    socket.notify('101-0');
    expect(heard).toEqual([]);
  });

  it('is given up when it never came to a welcome', async () => {
    const { socket, sockets, clock } = await openClient();
    await clock.advance(19_999);
    expect(socket.released).toBe(false);
    await clock.advance(1);
    expect(socket.released).toBe(true);
    await clock.advance(1_000);
    expect(sockets).toHaveLength(2);
  });
});

describe('after sleep, or with a network again', () => {
  it.each(['online', 'visibilitychange'])('the open link is checked at once: %s', async event => {
    const { socket, window, clock, room } = await openClient();
    socket.welcome({ ping: 25 });
    window.dispatchEvent(new Event(event));
    expect(socket.sent).toEqual([{ type: 'ping' }]);
    await clock.advance(10_000);
    expect(room.state).toBe('waiting');
  });

  it.each(['online', 'visibilitychange'])('what waits for its next attempt makes it: %s', async event => {
    const { socket, sockets, window, clock } = await openClient();
    socket.welcome();
    socket.lose();
    window.dispatchEvent(new Event(event));
    await clock.advance(0);
    expect(sockets).toHaveLength(2);
    await clock.advance(10_000);
    expect(sockets).toHaveLength(2);
  });

  it('a check that is under way is neither repeated nor prolonged', async () => {
    const { socket, window, clock, room } = await openClient();
    socket.welcome({ ping: 25 });
    window.dispatchEvent(new Event('online'));
    await clock.advance(6_000);
    window.dispatchEvent(new Event('visibilitychange'));
    expect(socket.sent).toHaveLength(1);
    await clock.advance(4_000);
    expect(room.state).toBe('waiting');
  });

  it('nothing happens when the page becomes hidden, and while it is connecting', async () => {
    const { socket, sockets, window, clock } = await openClient();
    window.dispatchEvent(new Event('online'));
    await clock.advance(0);
    expect(sockets).toHaveLength(1);
    socket.welcome();
    window.document.hidden = true;
    window.dispatchEvent(new Event('visibilitychange'));
    expect(socket.sent).toEqual([]);
  });

  it('is listened to until the end', async () => {
    const listening = new Map<string, unknown>();
    const window = {
      addEventListener: (type: string, listener: unknown) => listening.set(type, listener),
      removeEventListener: (type: string, listener: unknown) =>
        listening.get(type) === listener && listening.delete(type),
    };
    const { room } = await openClient({ window });
    expect([...listening.keys()]).toEqual(['online', 'visibilitychange']);
    room.close();
    expect(listening.size).toBe(0);
  });

  it('works where there is no window', async () => {
    const { socket, room } = await openClient({ window: {} });
    socket.welcome();
    expect(room.state).toBe('open');
    room.close();
  });
});
