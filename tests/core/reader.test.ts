import { describe, expect, it } from '@jest/globals';
import { type Address, BROADCAST } from '../../src/model/address.js';
import { BEGINNING, type Core, FakeSocket, FakeWire, startCore, turn, until } from './fakes.js';

describe('a connection that comes with a cursor', () => {
  it('gets what is after it, for its rooms, its user and everyone, in one order, each once', async () => {
    const core = await startCore();
    const { id } = await core.publish('room:a', 'before');
    await core.publish('room:a', '1');
    await core.publish('room:other', 'not for it');
    await core.publish('user:ann', '2');
    await core.publish('user:bob', 'not for it');
    await core.publish(['room:other', 'room:b', 'room:a', 'user:ann', BROADCAST], '3');
    await core.publish(BROADCAST, '4');
    const client = core.connect({ user: 'ann', rooms: ['a', 'b'], since: id });
    expect(client.start).toEqual({ id, recovered: true });
    await core.settle();
    expect(client.frames()).toEqual(['1 a', '2', '3 b', '4']);
  });

  it.each([0, 1, 2, 3, 4, 5])('has no gap and no double where more comes %i turns later', async turns => {
    const core = await startCore();
    const past = core.publishNumbers('a', 0, 3);
    const client = core.connect({ rooms: ['a'], since: BEGINNING });
    for (let n = 0; n < turns; n++) await turn();
    const live = core.publishNumbers('a', 3, 5);
    await core.settle();
    expect(client.frames()).toEqual([...past, ...live]);
  });

  it('has no gap and no double where more comes in every turn in which a long past is brought', async () => {
    const core = await startCore();
    const all = core.publishNumbers('a', 0, 5000);
    const client = core.connect({ rooms: ['a'], since: BEGINNING });
    let turns = 0;
    for (; client.frames().length < 5000; turns++) {
      all.push(...core.publishNumbers('a', all.length, all.length + 2));
      await turn();
    }
    expect(turns).toBeGreaterThan(3);
    await core.settle();
    expect(client.frames()).toEqual(all);
  });

  it('is live after that: what is published leaves at the end of the turn', async () => {
    const core = await startCore();
    const past = core.publishNumbers('a', 0, 3);
    const client = core.connect({ rooms: ['a'], since: BEGINNING });
    await core.settle();
    const live = core.publishNumbers('a', 3, 4);
    await turn();
    expect(client.frames()).toEqual([...past, ...live]);
  });

  it('gets what it is told in the turn in which it comes before the past', async () => {
    const core = await startCore();
    const past = core.publishNumbers('a', 0, 1);
    const client = core.connect({ rooms: ['a'], since: BEGINNING });
    core.postroom.send(client.connection, Buffer.from('welcome\n'));
    await core.settle();
    expect(client.frames()).toEqual(['welcome', ...past]);
  });

  it.each(['yesterday', '9999999-0'])('that was never given, %s, gets what comes only', async since => {
    const core = await startCore();
    const { id } = await core.publish('room:a', 'before');
    const client = core.connect({ rooms: ['a'], since });
    expect(client.start).toEqual({ id, recovered: false });
    const live = core.publishNumbers('a', 0, 2);
    await core.settle();
    expect(client.frames()).toEqual(live);
  });
});

describe('a room that is joined with a cursor', () => {
  it('has its past brought before what is new, without what came another way', async () => {
    const core = await startCore();
    const client = core.connect({ user: 'ann', rooms: ['a'] });
    await core.publish(['room:b', 'room:a'], '1');
    await core.publish('room:b', '2');
    await core.publish(['room:b', 'user:ann'], '3');
    await core.publish(['room:b', BROADCAST], '4');
    await core.publish('room:b', '5');
    await core.publish('room:c', 'not for it');
    const start = core.postroom.subscribe(client.connection, 'b', BEGINNING);
    expect(start).toEqual({ id: BEGINNING, recovered: true });
    await core.publish('room:b', '6');
    await core.settle();
    expect(client.frames()).toEqual(['1 a', '3', '4', '2 b', '5 b', '6 b']);
  });

  it('brings nothing twice when it is asked for again, in the same turn or later', async () => {
    const core = await startCore();
    const past = core.publishNumbers('a', 0, 3);
    const client = core.connect();
    const ask = () => core.postroom.subscribe(client.connection, 'a', BEGINNING);
    ask();
    ask();
    await core.settle();
    const live = core.publishNumbers('a', 3, 5);
    ask();
    await core.settle();
    ask();
    await core.settle();
    expect(client.frames()).toEqual([...past, ...live]);
  });

  it('brings only what was missed where it was left in between', async () => {
    const core = await startCore();
    const client = core.connect({ rooms: ['a', 'b'] });
    await core.publish('room:a', 'seen');
    await core.publish(['room:b', 'room:a'], 'seen through b');
    core.postroom.unsubscribe(client.connection, 'a');
    core.postroom.unsubscribe(client.connection, 'b');
    await core.publish('room:a', 'missed');
    core.postroom.subscribe(client.connection, 'a', BEGINNING);
    await core.settle();
    expect(client.frames()).toEqual(['seen a', 'seen through b b', 'missed a']);
  });

  it('brings nothing more once it is left, though its past was on the way', async () => {
    const core = await startCore({ maxBufferedBytes: 20 });
    const past = core.publishNumbers('a', 0, 20);
    const client = core.connect({ rooms: ['b'] });
    client.socket.stall();
    core.postroom.subscribe(client.connection, 'a', BEGINNING);
    for (let n = 0; n < 2; n++) {
      client.socket.take(1);
      await core.settle();
    }
    const before = client.frames();
    core.postroom.unsubscribe(client.connection, 'a');
    core.publishNumbers('a', 20, 22);
    const live = core.publishNumbers('b', 22, 24);
    client.socket.flow();
    await core.settle();
    expect(before.length).toBeGreaterThan(0);
    expect(client.frames()).toEqual([...past.slice(0, before.length), ...live]);
  });
});

describe('what has a ttl', () => {
  it.each(['connecting', 'joining'])('is replayed until that is over, at %s', async at => {
    const core = await startCore();
    for (const ttl of [0, 10, 20, undefined])
      await core.publish('room:a', `${ttl}`, ttl === undefined ? {} : { ttl });
    core.now += 10_000;
    const client = core.connect(at === 'connecting' ? { rooms: ['a'], since: BEGINNING } : {});
    if (at === 'joining') core.postroom.subscribe(client.connection, 'a', BEGINNING);
    await core.settle();
    expect(client.frames()).toEqual(['20 a', 'undefined a']);
  });

  it('reaches those who were there when it came, however late they take it', async () => {
    const core = await startCore({ maxBufferedBytes: 1 });
    const live = core.connect({ rooms: ['a'] });
    const slow = core.connect({ rooms: ['a'] });
    slow.socket.stall();
    const past = core.publishNumbers('a', 0, 3);
    const reader = core.connect({ rooms: ['a'], since: BEGINNING });
    await core.publish('room:a', 'now', { ttl: 0 });
    await core.settle();
    core.now += 1000;
    slow.socket.flow();
    await core.settle();
    for (const { frames } of [live, slow, reader]) expect(frames()).toEqual([...past, 'now a']);
  });
});

describe('a connection that does not keep up', () => {
  const MAX = 20;

  it('gets everything at the pace of its socket, while others are not kept, and is live again', async () => {
    const core = await startCore({ maxBufferedBytes: MAX });
    const [slow, other] = [core.connect({ rooms: ['a'] }), core.connect({ rooms: ['a'] })];
    slow.socket.stall();
    const all: string[] = [];
    for (let n = 0; n < 50; n++) {
      all.push(...core.publishNumbers('a', n, n + 1));
      await turn();
    }
    expect(other.frames()).toEqual(all);
    expect(slow.frames().length).toBeLessThan(all.length);
    for (let n = 0; n < 100 && slow.frames().length < all.length; n++) {
      expect(slow.socket.waiting).toBeLessThanOrEqual(MAX);
      slow.socket.take(1);
      await core.settle();
    }
    expect(slow.frames()).toEqual(all);
    slow.socket.flow();
    await core.settle();
    all.push(...core.publishNumbers('a', 50, 51));
    await turn();
    expect(slow.frames()).toEqual(all);
    expect(core.postroom.counters.fellBehind).toBe(1);
  });

  it('is not given what it is excepted from', async () => {
    const core = await startCore({ maxBufferedBytes: 1 });
    const { socket, connection, frames } = core.connect({ rooms: ['a'] });
    socket.stall();
    core.publishNumbers('a', 0, 2);
    await core.publish('room:a', 'not for it', { except: [connection.id] });
    core.publishNumbers('a', 2, 3);
    await core.settle();
    socket.flow();
    await core.settle();
    expect(frames()).toEqual(['0 a', '1 a', '2 a']);
  });

  it('is given one frame at a time where each is larger than what may wait', async () => {
    const core = await startCore({ maxBufferedBytes: 1 });
    const { socket, frames } = core.connect({ rooms: ['a'] });
    socket.stall();
    const all = core.publishNumbers('a', 0, 5);
    await core.settle();
    expect(frames()).toEqual(all.slice(0, 1));
    for (let n = 0; n < 4; n++) {
      socket.take(1);
      await core.settle();
      expect(socket.waiting).toBe(4);
    }
    expect(frames()).toEqual(all);
  });

  it('may leave and join meanwhile: it gets what it was in for at that time', async () => {
    const core = await startCore({ maxBufferedBytes: 1 });
    const { socket, connection, frames } = core.connect({ rooms: ['a'] });
    socket.stall();
    core.publishNumbers('a', 0, 3);
    core.publishNumbers('b', 3, 5);
    await core.settle();
    core.postroom.unsubscribe(connection, 'a');
    core.postroom.subscribe(connection, 'b');
    core.publishNumbers('a', 5, 7);
    core.publishNumbers('b', 7, 9);
    socket.flow();
    await core.settle();
    expect(frames()).toEqual(['0 a', '7 b', '8 b']);
  });
});

describe('a connection that falls out of the past', () => {
  const SHORT = { maxBufferedBytes: 20, retentionBytes: 8000 };

  /** Publishes to others until the oldest entry is trimmed. */
  async function loseFirst(core: Core): Promise<void> {
    const areAllKept = ({ published, journal } = core.postroom.stats) => published === journal.entries;
    await core.settle();
    while (areAllKept()) {
      await core.publish('room:others', 'x');
      await core.settle();
    }
  }

  it('is closed for that after what it got in order, and learns of the gap when it comes back', async () => {
    const core = await startCore(SHORT);
    const { socket, frames } = core.connect({ rooms: ['a'] });
    const other = core.connect({ rooms: ['a'] });
    socket.stall();
    const ids: string[] = [];
    for (let n = 0; n < 100; n++) {
      ids.push((await core.publish('room:a', `${n}`)).id);
      await turn();
    }
    const all = ids.map((_, n) => `${n} a`);
    expect(core.postroom.stats.journal.entries).toBeLessThan(50);
    socket.flow();
    await core.settle();
    expect(socket.closings).toEqual(['fell_behind']);
    expect(frames().length).toBeGreaterThan(0);
    expect(frames().length).toBeLessThan(50);
    expect(frames()).toEqual(all.slice(0, frames().length));
    expect(other.socket.closings).toEqual([]);
    expect(other.frames()).toEqual(all);
    const since = String(ids[frames().length - 1]);
    expect(core.connect({ rooms: ['a'], since }).start.recovered).toBe(false);
  });

  it('is closed also where it was the past of a room that it asked for', async () => {
    const core = await startCore(SHORT);
    core.publishNumbers('a', 0, 5);
    const { socket, connection, frames } = core.connect({ rooms: ['b'] });
    socket.stall();
    const before = core.publishNumbers('b', 5, 7);
    await turn();
    expect(core.postroom.subscribe(connection, 'a', BEGINNING).recovered).toBe(true);
    await loseFirst(core);
    socket.flow();
    await core.settle();
    expect(socket.closings).toEqual(['fell_behind']);
    expect(frames()).toEqual(before);
  });

  it('is not closed where what was lost was for others, before what it came for', async () => {
    const core = await startCore(SHORT);
    core.publishNumbers('b', 0, 5);
    const mine = core.publishNumbers('a', 5, 7);
    const socket = new FakeSocket();
    socket.stall();
    const { frames } = core.connect({ rooms: ['a'], since: BEGINNING, socket });
    await loseFirst(core);
    socket.flow();
    await core.settle();
    expect(socket.closings).toEqual([]);
    expect(frames()).toEqual(mine);
  });

  it('is not closed where what was lost was for others, after what it had', async () => {
    const core = await startCore(SHORT);
    const { socket, frames } = core.connect({ rooms: ['a'] });
    socket.stall();
    const mine = core.publishNumbers('a', 0, 3);
    core.publishNumbers('b', 3, 100);
    await core.settle();
    socket.flow();
    await core.settle();
    expect(socket.closings).toEqual([]);
    expect(frames()).toEqual(mine);
  });
});

describe('many readers', () => {
  /** A protocol whose frames each take a millisecond of CPU. No frame is shared. */
  class CostlyWire extends FakeWire {
    override notification(...entry: Parameters<FakeWire['notification']>): Buffer {
      for (const end = performance.now() + 1; performance.now() < end; );
      return super.notification(...entry);
    }
  }

  it('share turns with those who are live: what is published comes before the last of them is done', async () => {
    const core = await startCore();
    const past = core.publishNumbers('a', 0, 1);
    const live = core.connect({ rooms: ['b'] });
    const readers = Array.from({ length: 100 }, () =>
      core.connect({ rooms: ['a'], since: BEGINNING, wire: new CostlyWire() }),
    );
    const done = () => readers.filter(({ frames }) => frames().length > 0).length;
    await until(() => done() > 0);
    const [now] = core.publishNumbers('b', 1, 2);
    await until(() => live.frames().length > 0);
    expect(done()).toBeLessThan(readers.length);
    expect(live.frames()).toEqual([now]);
    await until(() => done() === readers.length);
    for (const { frames } of readers) expect(frames()).toEqual(past);
  });

  it('share turns with each other: a long past does not keep one waiting who comes for a short one', async () => {
    const core = await startCore();
    const long = core.publishNumbers('a', 0, 5000);
    const short = core.publishNumbers('b', 5000, 5001);
    const [first, second] = ['a', 'b'].map(room => core.connect({ rooms: [room], since: BEGINNING }));
    await until(() => second?.frames().length === 1);
    expect(first?.frames().length).toBeLessThan(long.length);
    await core.settle();
    expect([first?.frames(), second?.frames()]).toEqual([long, short]);
  });

  it('are given little at a time, however much may wait for one', async () => {
    const core = await startCore({ maxBufferedBytes: 1e9 });
    for (let n = 0; n < 200; n++) await core.publish('room:a', 'x'.repeat(1000));
    const socket = new FakeSocket();
    socket.stall();
    core.connect({ rooms: ['a'], since: BEGINNING, socket });
    await core.settle();
    // It waits until the socket has taken the first, empty write.
    socket.take(1);
    await core.settle();
    expect(socket.waiting).toBeGreaterThan(1000);
    expect(socket.waiting).toBeLessThanOrEqual(64 * 1024);
  });
});

describe('of several with one name to collapse', () => {
  const state = (core: Core, data: string, to: Address = 'room:a') =>
    core.publish(to, data, { collapse: 'state' });

  it('one who comes back gets the newest', async () => {
    const core = await startCore();
    for (const data of ['1', '2', '3']) await state(core, data);
    await state(core, 'other', 'room:b');
    const client = core.connect({ rooms: ['a', 'b'], since: BEGINNING });
    await core.settle();
    expect(client.frames()).toEqual(['3 a', 'other b']);
  });

  it('a slow reader gets the newest of those that it has not been sent', async () => {
    const core = await startCore({ maxBufferedBytes: 1 });
    const client = core.connect({ rooms: ['a'] });
    client.socket.stall();
    for (const data of ['1', '2', '3']) {
      await state(core, data);
      await turn();
    }
    await core.publish('room:a', 'last');
    client.socket.flow();
    await core.settle();
    expect(client.frames()).toEqual(['1 a', '3 a', 'last a']);
  });

  it('a room that is joined later brings the newest', async () => {
    const core = await startCore();
    for (const data of ['1', '2']) await state(core, data);
    const client = core.connect();
    core.postroom.subscribe(client.connection, 'a', BEGINNING);
    await core.settle();
    expect(client.frames()).toEqual(['2 a']);
  });
});
