import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Installation, type Page } from './installation.js';

const RUNS = Number(process.env.PROPERTY_RUNS ?? 300);
const ROOMS = ['p1', 'p2'];
const NODES = 3;
// Longer than all leases, graces and checks together.
const QUIET_MS = 15_000;

interface World {
  readonly installation: Installation;
  /** Whether messages get lost, now. */
  isLosing: boolean;
}

type Step = (world: World) => void | Promise<void>;

const room = fc.constantFrom(...ROOMS);
const user = fc.constantFrom('ann', 'bob', 'cem', 'dia', undefined);
const info = fc.constantFrom(undefined, '{"a":1}', '{"b":2}');

/** Something that happens to a node that is alive. */
function atNode<T>(
  value: fc.Arbitrary<T>,
  act: (world: World, node: number, value: T) => void | Promise<void>,
) {
  return fc.tuple(fc.nat(NODES - 1), value).map(([index, chosen]): Step => {
    return world => act(world, index % world.installation.nodes.length, chosen);
  });
}

/** Something that the client in a slot does, if there is one and its node is not paused. */
function atPage<T>(value: fc.Arbitrary<T>, act: (page: Page, value: T, world: World, node: number) => void) {
  return atNode(fc.tuple(fc.nat(3), value), (world, index, [slot, chosen]) => {
    const node = world.installation.nodes[index];
    const open = node?.pages.filter(({ isOpen }) => isOpen) ?? [];
    const page = open[slot % Math.max(1, open.length)];
    if (page !== undefined && !node?.cluster.isPaused) act(page, chosen, world, index);
  });
}

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: atNode(
      fc.tuple(user, info, fc.subarray(ROOMS)),
      ({ installation }, node, [who, what, rooms]) => {
        if (installation.nodes[node]?.cluster.isPaused) return;
        const page = installation.open(node, who, what);
        for (const name of rooms) page.join(name);
      },
    ),
  },
  { weight: 4, arbitrary: atPage(room, (page, name) => page.join(name)) },
  { weight: 4, arbitrary: atPage(room, (page, name) => page.leave(name)) },
  { weight: 3, arbitrary: atPage(fc.constant(undefined), page => page.end()) },
  {
    weight: 1,
    arbitrary: atPage(info, ({ client, user: who }, what, { installation }, node) => {
      if (who !== undefined) installation.nodes[node]?.core.postroom.identify(client.connection, who, what);
    }),
  },
  {
    weight: 1,
    arbitrary: atPage(fc.boolean(), ({ client }, stall) =>
      stall ? client.socket.stall() : client.socket.flow(),
    ),
  },
  {
    weight: 4,
    arbitrary: fc.constantFrom(1, 30, 300, 1200, 4000).map(
      (ms): Step =>
        world =>
          world.installation.pass(ms),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.boolean().map((isLosing): Step => {
      return world => {
        world.isLosing = isLosing;
      };
    }),
  },
  { weight: 1, arbitrary: fc.constant((({ installation }) => installation.network.forget()) as Step) },
  {
    weight: 1,
    arbitrary: atNode(fc.constant(undefined), ({ installation }, node) =>
      installation.nodes[node]?.cluster.pause(),
    ),
  },
  {
    weight: 1,
    arbitrary: atNode(fc.constant(undefined), ({ installation }, node) =>
      installation.nodes[node]?.cluster.resume(),
    ),
  },
  {
    weight: 1,
    arbitrary: atNode(fc.constant(undefined), async ({ installation }, node) => {
      await installation.kill(node);
      await installation.addNode();
    }),
  },
);

describe('presence on three nodes', () => {
  it(`is the same everywhere when it is quiet, and the frames add up to it`, async () => {
    const options = fc.record({
      graceMs: fc.constantFrom(0, 3000),
      maxMembers: fc.constantFrom(2, 100),
      maxBufferedBytes: fc.constantFrom(40, 1e6),
      losses: fc.array(fc.boolean(), { minLength: 1, maxLength: 7 }),
    });
    await fc.assert(
      fc.asyncProperty(options, fc.array(step, { minLength: 1, maxLength: 40 }), async (chosen, steps) => {
        const installation = await Installation.start(NODES, chosen);
        const world: World = { installation, isLosing: false };
        let messages = 0;
        installation.network.loses = () =>
          world.isLosing && (chosen.losses[messages++ % chosen.losses.length] ?? false);
        try {
          for (const each of steps) await each(world);
          world.isLosing = false;
          for (const { cluster, pages } of installation.nodes) {
            cluster.resume();
            for (const { client } of pages) client.socket.flow();
          }
          await installation.pass(QUIET_MS);
          for (const name of ROOMS) check(installation, name, chosen.maxMembers);
          expect(installation.nodes.flatMap(({ core }) => core.failures)).toEqual([]);
        } finally {
          for (const { core, cluster } of installation.nodes) {
            await core.postroom.stop();
            await cluster.stop();
          }
        }
      }),
      { numRuns: RUNS },
    );
  });
});

function check(installation: Installation, room: string, maxMembers: number): void {
  const users = installation.usersIn(room);
  const known = installation.membersOf(0, room);
  expect(Object.keys(known)).toEqual(users);
  for (const [index, { pages }] of installation.nodes.entries()) {
    expect(installation.membersOf(index, room)).toEqual(known);
    for (const page of pages) {
      page.read();
      expect(page.faults).toEqual([]);
      const view = page.rooms.get(room);
      if (!page.isOpen || view === undefined || page.user === undefined) continue;
      if (view.members !== undefined) expect(Object.fromEntries([...view.members].sort())).toEqual(known);
      else expect({ room, count: view.count }).toEqual({ room, count: users.length });
      // Between the two limits either is right.
      if (users.length > maxMembers) expect(view.members).toBeUndefined();
      if (users.length < maxMembers * 0.75) expect(view.members).toBeDefined();
    }
  }
}
