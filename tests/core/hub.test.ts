import { describe, expect, it } from '@jest/globals';
import {
  type Address,
  BROADCAST,
  connectionAddress,
  roomAddress,
  userAddress,
} from '../../src/model/address.js';
import { BEGINNING, type Client, type Core, FakeWire, startCore } from './fakes.js';

/** The frames of each client, when nothing moves any more. */
async function frames(core: Core, ...clients: Client[]): Promise<string[][]> {
  await core.settle();
  return clients.map(client => client.frames());
}

describe('a notification', () => {
  it('for a room reaches those who joined it, and names the room to them', async () => {
    const core = await startCore();
    const joined = [core.connect({ rooms: ['a'] }), core.connect({ user: 'ann', rooms: ['b', 'a'] })];
    const others = [core.connect(), core.connect({ user: 'a', rooms: ['b'] })];
    expect(await core.publish(roomAddress('a'), '1')).toMatchObject({ connections: 2, duplicate: false });
    expect(await frames(core, ...joined, ...others)).toEqual([['1 a'], ['1 a'], [], []]);
  });

  it('for a user reaches all connections of that user, and names no room', async () => {
    const core = await startCore();
    const hers = [core.connect({ user: 'ann' }), core.connect({ user: 'ann', rooms: ['a'] })];
    const others = [core.connect({ user: 'bob' }), core.connect({ rooms: ['ann'] })];
    expect(await core.publish(userAddress('ann'), '1')).toMatchObject({ connections: 2 });
    expect(await frames(core, ...hers, ...others)).toEqual([['1'], ['1'], [], []]);
  });

  it('for a connection reaches that one only', async () => {
    const core = await startCore();
    const [one, other] = [core.connect({ user: 'ann' }), core.connect({ user: 'ann' })];
    expect(await core.publish(connectionAddress(one.connection.id), '1')).toMatchObject({ connections: 1 });
    expect(await frames(core, one, other)).toEqual([['1'], []]);
  });

  it('for everyone reaches every open connection', async () => {
    const core = await startCore();
    const clients = [core.connect(), core.connect({ user: 'ann' }), core.connect({ rooms: ['a'] })];
    core.postroom.disconnect(core.connect().connection, 'client');
    expect(await core.publish(BROADCAST, '1')).toMatchObject({ connections: 3 });
    expect(await frames(core, ...clients)).toEqual([['1'], ['1'], ['1']]);
  });

  it('reaches nobody where nobody listens, and is taken all the same', async () => {
    const core = await startCore();
    const gone = core.connect({ user: 'ann', rooms: ['a'] });
    core.postroom.disconnect(gone.connection, 'lost');
    const addresses = [roomAddress('a'), userAddress('ann'), connectionAddress(gone.connection.id)];
    expect(await core.publish(addresses, '1')).toMatchObject({ connections: 0, duplicate: false });
    expect(core.postroom.stats).toMatchObject({ published: 1, journal: { entries: 1 } });
  });

  it('reaches who joined or was identified later, and no longer who left', async () => {
    const core = await startCore();
    const client = core.connect();
    const publishBoth = (data: string) => core.publish(['room:a', 'user:ann'], data);
    expect(await publishBoth('1')).toMatchObject({ connections: 0 });
    core.postroom.subscribe(client.connection, 'a');
    expect(await publishBoth('2')).toMatchObject({ connections: 1 });
    core.postroom.unsubscribe(client.connection, 'a');
    expect(await publishBoth('3')).toMatchObject({ connections: 0 });
    core.postroom.identify(client.connection, 'ann');
    expect(await publishBoth('4')).toMatchObject({ connections: 1 });
    expect(await frames(core, client)).toEqual([['2 a', '4']]);
  });

  it('reaches each connection once, through the first of its addresses that does', async () => {
    const core = await startCore();
    const clients = [
      core.connect({ user: 'ann', rooms: ['a', 'b'] }),
      core.connect({ user: 'ann', rooms: ['a'] }),
      core.connect({ user: 'ann', rooms: ['c'] }),
      core.connect(),
    ];
    const own = clients.map(({ connection }) => connectionAddress(connection.id));
    const addresses: Address[] = ['room:b', 'room:a', 'user:ann', ...own, BROADCAST];
    expect(await core.publish(addresses, '1')).toMatchObject({ connections: 4 });
    expect(await frames(core, ...clients)).toEqual([['1 b'], ['1 a'], ['1'], ['1']]);
  });

  it('passes over those that it is not for, and neither counts them nor keeps the next from them', async () => {
    const core = await startCore();
    const [sender, other] = [core.connect({ rooms: ['a', 'b'] }), core.connect({ rooms: ['a'] })];
    const except = [sender.connection.id, '1.1'];
    const addresses: Address[] = ['room:b', 'room:a', BROADCAST];
    expect(await core.publish(addresses, '1', { except })).toMatchObject({ connections: 1 });
    expect(await core.publish(addresses, '2')).toMatchObject({ connections: 2 });
    expect(await frames(core, sender, other)).toEqual([['2 b'], ['1 a', '2 a']]);
  });
});

describe('the listeners of an address', () => {
  it('are those whom a notification would reach', async () => {
    const core = await startCore();
    const { connection: ann } = core.connect({ user: 'ann', rooms: ['a'] });
    const { connection: bob } = core.connect({ user: 'bob', rooms: ['a', 'b'] });
    const { postroom } = core;
    expect(postroom.listeners('room:a')).toEqual([ann, bob]);
    expect(postroom.listeners('room:b')).toEqual([bob]);
    expect(postroom.listeners('user:ann')).toEqual([ann]);
    expect(postroom.listeners(connectionAddress(bob.id))).toEqual([bob]);
    expect(postroom.listeners(BROADCAST)).toEqual([ann, bob]);
    for (const nobody of ['room:ann', 'user:a', 'connection:1.1'] as const)
      expect(postroom.listeners(nobody)).toEqual([]);
  });
});

describe('the counts', () => {
  function counts({ postroom }: Core) {
    const { connections, users, rooms } = postroom.stats;
    return { connections, users, rooms };
  }

  it('are of open connections, users that have one, and rooms that somebody is in', async () => {
    const core = await startCore();
    expect(counts(core)).toEqual({ connections: 0, users: 0, rooms: 0 });
    const first = core.connect({ user: 'ann', rooms: ['a', 'b'] });
    const second = core.connect({ user: 'ann', rooms: ['b', 'c'] });
    const third = core.connect();
    expect(counts(core)).toEqual({ connections: 3, users: 1, rooms: 3 });
    core.postroom.identify(third.connection, 'bob');
    expect(counts(core)).toEqual({ connections: 3, users: 2, rooms: 3 });
    expect(['ann', 'bob', 'eve'].map(user => core.postroom.connectionsOf(user))).toEqual([2, 1, 0]);
    core.postroom.disconnect(first.connection, 'client');
    expect(counts(core)).toEqual({ connections: 2, users: 2, rooms: 2 });
    core.postroom.close(second.connection, 'removed');
    expect(counts(core)).toEqual({ connections: 1, users: 1, rooms: 0 });
  });

  it('take joining and leaving once, however often it is said', async () => {
    const core = await startCore();
    const [{ connection }, other] = [core.connect(), core.connect({ rooms: ['a'] })];
    for (const _ of ['once', 'again']) core.postroom.subscribe(connection, 'a');
    expect(counts(core).rooms).toBe(1);
    for (const _ of ['once', 'again']) core.postroom.unsubscribe(connection, 'a');
    expect(counts(core).rooms).toBe(1);
    core.postroom.unsubscribe(other.connection, 'a');
    expect(counts(core).rooms).toBe(0);
    core.postroom.subscribe(connection, 'a');
    expect(counts(core).rooms).toBe(1);
  });
});

describe('a frame', () => {
  it('is encoded once for all listeners of a room, also for one that comes later for the past', async () => {
    const core = await startCore();
    for (let n = 0; n < 100; n++) core.connect({ rooms: ['a'] });
    await core.publish('room:a', '1');
    const late = core.connect({ rooms: ['a'], since: BEGINNING });
    expect(await frames(core, late)).toEqual([['1 a']]);
    expect(core.wire.encoded).toBe(1);
  });

  it('is encoded once for each wire, and each connection gets that of its own', async () => {
    const core = await startCore();
    const short = new FakeWire('short');
    const long = new FakeWire('long', 'long ');
    const clients = [short, long, short, long].map(wire => core.connect({ rooms: ['a'], wire }));
    await core.publish('room:a', '1');
    expect(await frames(core, ...clients)).toEqual([['1 a'], ['long 1 a'], ['1 a'], ['long 1 a']]);
    expect([short.encoded, long.encoded]).toEqual([1, 1]);
  });

  it('is encoded for each room that it comes through, and not at all for nobody', async () => {
    const core = await startCore();
    await core.publish(['room:a', BROADCAST], '1');
    expect(core.wire.encoded).toBe(0);
    for (const rooms of [['a'], ['b'], ['b', 'c'], []]) core.connect({ rooms });
    await core.publish(['room:a', 'room:b', 'room:c', BROADCAST], '2');
    expect(core.wire.encoded).toBe(3);
  });
});
