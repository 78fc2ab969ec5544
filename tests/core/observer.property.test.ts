import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Connection, Wire } from '../../src/core/connection.js';
import type { Observer } from '../../src/core/observer.js';
import { type Address, BROADCAST, roomAddress } from '../../src/model/address.js';
import type { EndReason } from '../../src/model/close.js';
import { wireOf } from '../support/core.js';
import { BEGINNING, type Client, type Core, startCore, turn, until } from './fakes.js';

const RUNS = Number(process.env.PROPERTY_RUNS ?? 250);
const SLOTS = 4;
const FRAME = Buffer.from('frame\n');

const wires: Wire[] = ['first', 'second'].map(protocol => wireOf(protocol, () => FRAME));

/** Knows only what it observed of the connections. */
class Replay implements Observer {
  readonly open = new Map<Connection, Set<string>>();
  readonly ended: { connection: Connection; reason: EndReason }[] = [];
  /** Observations that made no sense. */
  readonly faults: string[] = [];

  opened(connection: Connection): void {
    this.#check(!this.open.has(connection), 'opened again');
    this.#check(!this.ended.some(end => end.connection === connection), 'opened after it was closed');
    this.open.set(connection, new Set());
  }

  identified(connection: Connection, before: string | undefined): void {
    this.#check(before === undefined && connection.user !== undefined, 'identified without a new user');
  }

  joined(connection: Connection, room: string): void {
    const rooms = this.open.get(connection);
    this.#check(rooms?.has(room) === false, `joined ${room} again, or while it was not open`);
    rooms?.add(room);
  }

  left(connection: Connection, room: string): void {
    const wasIn = this.open.get(connection)?.delete(room) ?? false;
    this.#check(wasIn, `left ${room} without being in it`);
  }

  closed(connection: Connection, reason: EndReason): void {
    this.#check(this.open.get(connection)?.size === 0, 'closed again, or before it left its rooms');
    this.open.delete(connection);
    this.ended.push({ connection, reason });
  }

  get figures() {
    const users = [...this.open.keys()].flatMap(({ user }) => user ?? []);
    const rooms = [...this.open.values()].flatMap(joined => [...joined]);
    return { connections: this.open.size, users: new Set(users).size, rooms: new Set(rooms).size };
  }

  #check(isSo: boolean, fault: string): void {
    if (!isSo) this.faults.push(fault);
  }
}

/** The objects that a random program works on. */
interface World {
  readonly core: Core;
  readonly replay: Replay;
  readonly clients: Client[];
  /** The clients that steps refer to. Some of them have ended. */
  readonly slots: (Client | undefined)[];
  /** Bytes for connections that ended before the bytes were written. */
  lost: number;
}

type Step = (world: World) => void | Promise<void>;

const slot = fc.nat(SLOTS - 1);
const room = fc.constantFrom('a', 'b', 'c');
const rooms = fc.uniqueArray(room, { maxLength: 3 });
const since = fc.constantFrom(undefined, undefined, BEGINNING, 'nonsense');

/** A step that does something with the client in a slot, if there is one. */
function withClient<T>(value: fc.Arbitrary<T>, act: (client: Client, value: T, world: World) => void) {
  return fc.tuple(slot, value).map(([index, chosen]): Step => {
    return world => {
      const client = world.slots[index];
      if (client !== undefined) act(client, chosen, world);
    };
  });
}

const connect = fc
  .record({
    slot,
    rooms,
    user: fc.constantFrom(undefined, 'ann', 'bob'),
    since,
    wire: fc.constantFrom(...wires),
  })
  .map(
    ({ slot, ...options }): Step =>
      ({ core, clients, slots }) => {
        const client = core.connect(options);
        clients.push(client);
        slots[slot] = client;
      },
  );

const publish = fc
  .record({ rooms, isForAll: fc.boolean(), except: fc.option(slot), ttl: fc.constantFrom(0, 10) })
  .map(
    ({ rooms, isForAll, except, ttl }): Step =>
      ({ core, slots }) => {
        const addresses: Address[] = rooms.map(roomAddress);
        if (isForAll || addresses.length === 0) addresses.push(BROADCAST);
        const id = except === null ? undefined : slots[except]?.connection.id;
        void core.publish(addresses, 'x', { ttl, except: id === undefined ? [] : [id] });
      },
  );

const join = withClient(fc.tuple(room, since), ({ connection }, [room, since], { core }) => {
  core.postroom.subscribe(connection, room, since);
});
const leave = withClient(room, ({ connection }, room, { core }) => {
  core.postroom.unsubscribe(connection, room);
});
const identify = withClient(fc.constantFrom('ann', 'bob'), ({ connection }, user, { core }) => {
  if (connection.user === undefined) core.postroom.identify(connection, user);
});
const close = withClient(
  fc.constantFrom('removed' as const, 'internal' as const),
  ({ connection }, reason, { core }) => core.postroom.close(connection, reason),
);
const end = withClient(
  fc.constantFrom('client' as const, 'lost' as const),
  ({ connection, socket }, reason, world) => {
    world.lost += world.core.postroom.waiting(connection) - socket.waiting;
    world.core.postroom.disconnect(connection, reason);
  },
);
const stall = withClient(fc.boolean(), ({ socket }, isStalled) => {
  if (isStalled) socket.stall();
  else socket.flow();
});
const loseEntry: Step = async ({ core, replay }) => {
  await core.lose();
  await until(() => replay.open.size === 0);
};

const step = fc.oneof(
  { weight: 6, arbitrary: connect },
  { weight: 12, arbitrary: publish },
  { weight: 6, arbitrary: join },
  { weight: 4, arbitrary: leave },
  { weight: 2, arbitrary: identify },
  { weight: 2, arbitrary: close },
  { weight: 2, arbitrary: end },
  { weight: 6, arbitrary: stall },
  { weight: 1, arbitrary: fc.constant(loseEntry) },
  { weight: 6, arbitrary: fc.constant<Step>(turn) },
);

function countBy<T>(items: Iterable<T>, keyOf: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return counts;
}

describe('after any connects, joins, leaves, closes and publishes', () => {
  it('what was observed is what the core reports, and what it counted is what happened', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80, size: 'max' }), async steps => {
        const replay = new Replay();
        const core = await startCore({ observers: [replay], maxBufferedBytes: 20, retentionBytes: 4000 });
        const world: World = { core, replay, clients: [], slots: [], lost: 0 };
        for (const step of steps) {
          await step(world);
          expect(core.postroom.stats).toMatchObject(replay.figures);
          expect(replay.faults).toEqual([]);
        }
        for (const { socket } of world.clients) socket.flow();
        await core.settle();
        expect(core.postroom.stats).toMatchObject(replay.figures);
        expect([...replay.faults, ...core.failures]).toEqual([]);
        for (const [connection, rooms] of replay.open) expect(new Set(connection.rooms)).toEqual(rooms);

        const { open, ended, deliveredFrames, writtenBytes } = core.postroom.counters;
        const openNow = [...open].filter(([, count]) => count !== 0);
        expect(new Map(openNow)).toEqual(countBy(replay.open.keys(), ({ wire }) => wire.protocol));
        expect(ended).toEqual(countBy(replay.ended, ({ reason }) => reason));
        expect(replay.open.size + replay.ended.length).toBe(world.clients.length);
        const written = world.clients.reduce((sum, { socket }) => sum + socket.text.length, 0);
        expect(writtenBytes).toBe(written);
        expect(deliveredFrames * FRAME.length).toBe(written + world.lost);
      }),
      { numRuns: RUNS },
    );
  });
});
