import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Tracker } from '../../src/core/presence/tracker.js';
import { type Arrival, Arrivals } from '../../src/webhooks/arrivals.js';
import { type InstalledNode, Installation } from '../core/installation.js';
import { isAwayError, VirtualStores } from '../support/virtual-stores.js';

const RUNS = Number(process.env.PROPERTY_RUNS ?? 100);
const NODES = 3;
const ROOMS = ['p1', 'p2', 'other'];
const USERS = ['ann', 'bob', undefined];
const GRACE_MS = 3000;
const SETTLE_MS = 5000;
const LEASE_MS = 5000;
const HOLD_EVERY_MS = 500;
// Longer than all leases, graces and checks together.
const QUIET_MS = 30_000;

/** What PHP was told: `came p1 ann`, or `left p1` for the room as a whole. */
type Told = { readonly what: 'came' | 'left'; readonly room: string; readonly user: string };

/** What the nodes share: the stores, who sends, and what PHP was told. They can be away. */
class Shared {
  readonly stores = new VirtualStores(() => this.installation.network, LEASE_MS);
  readonly told: Told[] = [];
  /** Errors that are no outage. */
  readonly faults: unknown[] = [];

  /** Tells arrivals from a node that has started. */
  readonly added = ({ cluster, core }: InstalledNode): void => {
    const { clock } = this.installation.network.time;
    const lease = this.stores.lease(cluster);
    const hold = () => {
      void lease.hold().catch(() => undefined);
      cluster.after(HOLD_EVERY_MS, hold);
    };
    hold();
    const follow = (tracker: Tracker, name: string) =>
      new Arrivals({
        cluster,
        topic: name,
        covers: () => true,
        tracker,
        told: this.stores.open<Arrival>(cluster, name),
        lease,
        clock,
        after: cluster.after,
        settleMs: SETTLE_MS,
        tell: (what, { room, user }) =>
          this.stores.ask(cluster, async () => void this.told.push({ what, room, user })),
        failed: error => void (isAwayError(error) || this.faults.push(error)),
      }).start();
    follow(core.postroom.presence.tracker, 'members');
    if (core.postroom.occupancy) follow(core.postroom.occupancy.tracker, 'rooms');
  };

  installation!: Installation;
}

async function start(graceMs: number): Promise<Shared> {
  const shared = new Shared();
  const options = { graceMs, occupancy: true, added: shared.added };
  shared.installation = new Installation(options);
  for (let index = 0; index < NODES; index++) await shared.installation.addNode();
  await shared.installation.pass(2500);
  return shared;
}

async function stop({ installation }: Shared): Promise<void> {
  for (const { core, cluster } of installation.nodes) {
    await core.postroom.stop();
    await cluster.stop();
  }
}

type Step =
  | { do: 'open'; user: string | undefined; rooms: string[] }
  | { do: 'join' | 'leave'; page: number; room: string }
  | { do: 'end'; page: number }
  | { do: 'pass'; milliseconds: number }
  | { do: 'away'; isAway: boolean }
  | { do: 'kill' | 'pause' | 'resume' | 'lose lease' | 'forget' };

const page = fc.nat(3);
const room = fc.constantFrom(...ROOMS);
const step: fc.Arbitrary<{ at: number; step: Step }> = fc.record({
  at: fc.nat(NODES - 1),
  step: fc.oneof(
    only(
      6,
      fc.record({
        do: fc.constant('open' as const),
        user: fc.constantFrom(...USERS),
        rooms: fc.subarray(ROOMS),
      }),
    ),
    only(4, fc.record({ do: fc.constantFrom('join' as const, 'leave' as const), page, room })),
    only(4, fc.record({ do: fc.constant('end' as const), page })),
    only(
      6,
      fc.record({
        do: fc.constant('pass' as const),
        milliseconds: fc.constantFrom(0, 1, 2, 30, 1200, 4000, 7000),
      }),
    ),
    only(1, fc.record({ do: fc.constant('away' as const), isAway: fc.boolean() })),
    only(
      3,
      fc.record({
        do: fc.constantFrom(
          'kill' as const,
          'pause' as const,
          'resume' as const,
          'lose lease' as const,
          'forget' as const,
        ),
      }),
    ),
  ),
});

function only<T>(weight: number, arbitrary: fc.Arbitrary<T>) {
  return { weight, arbitrary };
}

/** After these nothing may be told twice. */
const CALM = new Set<Step['do']>(['open', 'join', 'leave', 'end', 'pass', 'forget']);

async function run(shared: Shared, at: number, step: Step): Promise<void> {
  const { installation } = shared;
  const { nodes, network } = installation;
  const node = nodes[at];
  if (node === undefined) return;
  switch (step.do) {
    case 'pass':
      return installation.pass(step.milliseconds);
    case 'away':
      shared.stores.health = step.isAway ? 'away' : 'well';
      return;
    case 'lose lease':
      return shared.stores.loseLease();
    case 'forget':
      return network.forget();
    case 'pause':
      return node.cluster.pause();
    case 'resume':
      return node.cluster.resume();
    case 'kill':
      await installation.kill(at);
      await installation.addNode();
      return;
  }
  // Nothing of a paused node works.
  if (node.cluster.isPaused) return;
  if (step.do === 'open') {
    const opened = installation.open(at, step.user);
    for (const room of step.rooms) opened.join(room);
    return;
  }
  const open = node.pages.filter(({ isOpen }) => isOpen);
  const page = open[step.page % Math.max(1, open.length)];
  if (step.do === 'end') page?.end();
  else if (step.do === 'join') page?.join(step.room);
  else page?.leave(step.room);
}

/** What PHP was told of one room or member, without repetitions. */
function changesOf(told: readonly Told[], room: string, user: string): string[] {
  const all = told.filter(each => each.room === room && each.user === user).map(({ what }) => what);
  return all.filter((what, index) => what !== all[index - 1]);
}

function isOccupied({ nodes }: Installation, room: string): boolean {
  return nodes.some(({ pages, core }) =>
    pages.some(({ isOpen, client }) => isOpen && core.postroom.isIn(client.connection, room)),
  );
}

describe('of each room and each member PHP hears in turns that they came and left,', () => {
  it('and at last what is so, whatever happens to the nodes, the lease and the stores', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0, GRACE_MS),
        fc.array(step, { maxLength: 60, size: 'max' }),
        async (graceMs, steps) => {
          const shared = await start(graceMs);
          const { installation } = shared;
          try {
            for (const { at, step } of steps) await run(shared, at, step);
            shared.stores.health = 'well';
            for (const { cluster } of installation.nodes) cluster.resume();
            await installation.pass(QUIET_MS);
            const { told } = shared;
            for (const room of ROOMS) {
              const isMemberRoom = room.startsWith('p');
              const present = new Set(isMemberRoom ? installation.usersIn(room) : []);
              const isThere = (user: string) =>
                user === '' ? isOccupied(installation, room) : present.has(user);
              for (const user of ['', 'ann', 'bob']) {
                const changes = changesOf(told, room, user);
                const expected = changes.map((_what, index) => (index % 2 === 0 ? 'came' : 'left'));
                expect({ room, user, changes }).toEqual({ room, user, changes: expected });
                expect({ room, user, isThere: changes.at(-1) === 'came' }).toEqual({
                  room,
                  user,
                  isThere: isThere(user),
                });
              }
            }
            if (steps.every(({ step }) => CALM.has(step.do))) {
              const keys = ROOMS.flatMap(room => ['', 'ann', 'bob'].map(user => changesOf(told, room, user)));
              expect(told).toHaveLength(keys.flat().length);
            }
            expect(shared.faults).toEqual([]);
          } finally {
            await stop(shared);
          }
        },
      ),
      { numRuns: RUNS },
    );
  }, 60_000);
});

describe('a page that changes', () => {
  async function visits(pauseMs: number): Promise<Told[]> {
    const shared = await start(GRACE_MS);
    const { installation } = shared;
    await installation.pass(SETTLE_MS + LEASE_MS);
    for (const node of [0, 1, 2, 0]) {
      const page = installation.open(node, 'ann');
      page.join('p1');
      await installation.pass(1000);
      page.end();
      await installation.pass(pauseMs);
    }
    await installation.pass(QUIET_MS);
    await stop(shared);
    return shared.told;
  }

  it('has not left if it is back within the grace', async () => {
    const told = await visits(GRACE_MS - 500);
    expect(changesOf(told, 'p1', '')).toEqual(['came', 'left']);
    expect(changesOf(told, 'p1', 'ann')).toEqual(['came', 'left']);
    expect(told).toHaveLength(4);
  });

  it('has left if it is back later', async () => {
    const told = await visits(GRACE_MS + 1500);
    expect(changesOf(told, 'p1', 'ann')).toEqual(Array(4).fill(['came', 'left']).flat());
    expect(told).toHaveLength(16);
  });
});
