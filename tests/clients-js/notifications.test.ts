import { describe, expect, it } from '@jest/globals';
import { Recent } from '../../clients/js/src/recent.js';
import { openClient } from './fakes.js';

describe('notifications', () => {
  it('come to the handlers of their event and to those of any', async () => {
    const { room, socket } = await openClient();
    const calls: unknown[] = [];
    room.on('order.paid', (data, frame) => calls.push(['paid', data, frame.id]));
    room.on('order.sent', data => calls.push(['sent', data]));
    room.on('*', (_, frame) => calls.push(['any', frame.event, frame.room]));
    socket.welcome();

    socket.notify('101-0', 'order.paid', { data: { order: 42 } });
    socket.notify('102-0', 'order.sent', { data: null, room: undefined });

    expect(calls).toEqual([
      ['paid', { order: 42 }, '101-0'],
      ['any', 'order.paid', 'a'],
      ['sent', null],
      ['any', 'order.sent', undefined],
    ]);
  });

  it('of an event that is called * come once', async () => {
    const { socket, heard } = await openClient();
    socket.welcome();
    socket.notify('101-0', '*');
    expect(heard).toHaveLength(1);
  });

  it('come no more to a handler that was taken off, and still to its double', async () => {
    const { room, socket } = await openClient();
    const calls: string[] = [];
    const handler = (data: string) => calls.push(data);
    const off = room.on('event', handler);
    room.on('event', handler);
    off();
    off();
    socket.welcome();
    socket.notify('101-0');
    expect(calls).toEqual(['101-0']);
  });

  it('come to a handler only from the next one on when it is added by another handler', async () => {
    const { room, socket } = await openClient();
    const calls: string[] = [];
    const stop = room.on<string>('event', () => {
      stop();
      room.on<string>('event', data => calls.push(data));
    });
    socket.welcome();
    socket.notify('101-0');
    socket.notify('102-0');
    expect(calls).toEqual(['102-0']);
  });

  it('are handed on once, whatever the server repeats', async () => {
    const { socket, heard, room } = await openClient();
    socket.welcome();
    socket.notify('101-0');
    socket.notify('102-0');
    socket.notify('101-0');
    socket.notify('102-0', 'event', { room: undefined });
    expect(heard.map(({ id }) => id)).toEqual(['101-0', '102-0']);
    expect(room.cursor).toBe('102-0');
  });

  it('frames of types to come are passed over', async () => {
    const { socket, heard, faults } = await openClient();
    socket.welcome();
    socket.receive({ type: 'from the future', event: 'event', data: 1 });
    expect([heard, faults]).toEqual([[], []]);
  });
});

describe('what was seen lately', () => {
  it('is remembered, the last thousand of it', () => {
    const recent = new Recent();
    for (let number = 0; number < 5_000; number++) expect(recent.add(`${number}-0`)).toBe(true);
    expect(recent.add('4000-0')).toBe(false);
    expect(recent.add('4999-0')).toBe(false);
    expect(recent.add('3999-0')).toBe(true);
  });
});
