import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Installation } from './installation.js';

const RUNS = Number(process.env.PROPERTY_RUNS ?? 300);
const ROOMS = ['p1', 'p2'];
const NODES = 3;
// Longer than all leases, graces and checks together.
const QUIET_MS = 15_000;

type Step =
  | { do: 'open'; user: string | undefined; info: string | undefined; rooms: string[] }
  | { do: 'join' | 'leave'; page: number; room: string }
  | { do: 'end' | 'stall' | 'flow'; page: number }
  | { do: 'identify'; page: number; user: string | undefined; info: string | undefined }
  | { do: 'pass'; milliseconds: number }
  | { do: 'lose'; isLosing: boolean }
  | { do: 'forget' | 'pause' | 'resume' | 'kill' };

const page = fc.nat(3);
const user = fc.constantFrom('ann', 'bob', 'cem', 'dia', undefined);
const info = fc.constantFrom(undefined, '{"a":1}', '{"b":2}');

/** A step, and the node where it happens. */
const step = fc.record({
  at: fc.nat(NODES - 1),
  step: fc.oneof(
    only(6, { do: 'open', user, info, rooms: fc.subarray(ROOMS) }),
    only(4, { do: 'join', page, room: fc.constantFrom(...ROOMS) }),
    only(4, { do: 'leave', page, room: fc.constantFrom(...ROOMS) }),
    only(3, { do: 'end', page }),
    only(1, { do: 'identify', page, user, info }),
    only(1, { do: fc.constantFrom('stall', 'flow'), page }),
    only(4, { do: 'pass', milliseconds: fc.constantFrom(1, 30, 300, 1200, 4000) }),
    only(2, { do: 'lose', isLosing: fc.boolean() }),
    only(3, { do: fc.constantFrom('forget', 'pause', 'resume', 'kill') }),
  ),
});

/** A kind of step with its weight. Plain values are constants. */
function only(weight: number, fields: Record<string, unknown>) {
  const arbitraries = Object.entries(fields).map(([name, value]) => [
    name,
    value instanceof fc.Arbitrary ? value : fc.constant(value),
  ]);
  return { weight, arbitrary: fc.record(Object.fromEntries(arbitraries)) as fc.Arbitrary<Step> };
}

class World {
  readonly installation: Installation;
  #isLosing = false;

  constructor(installation: Installation, losses: readonly boolean[]) {
    this.installation = installation;
    let messages = 0;
    installation.network.loses = () => this.#isLosing && (losses[messages++ % losses.length] ?? false);
  }

  async run(at: number, step: Step): Promise<void> {
    const { nodes, network } = this.installation;
    const index = at % nodes.length;
    const node = nodes[index];
    switch (step.do) {
      case 'pass':
        return this.installation.pass(step.milliseconds);
      case 'lose':
        this.#isLosing = step.isLosing;
        return;
      case 'forget':
        return network.forget();
      case 'pause':
        return node?.cluster.pause();
      case 'resume':
        return node?.cluster.resume();
      case 'kill':
        await this.installation.kill(index);
        await this.installation.addNode();
        return;
      default:
        // Nothing of a paused node works.
        if (node !== undefined && !node.cluster.isPaused) this.#runAtNode(index, step);
    }
  }

  #runAtNode(index: number, step: Extract<Step, { page: number } | { do: 'open' }>): void {
    const { installation } = this;
    if (step.do === 'open') {
      const opened = installation.open(index, step.user, step.info);
      for (const room of step.rooms) opened.join(room);
      return;
    }
    const open = installation.nodes[index]?.pages.filter(({ isOpen }) => isOpen) ?? [];
    const page = open[step.page % Math.max(1, open.length)];
    if (page === undefined) return;
    switch (step.do) {
      case 'join':
        return page.join(step.room);
      case 'leave':
        return page.leave(step.room);
      case 'end':
        return page.end();
      case 'identify':
        return page.identify(step.user, step.info);
      case 'stall':
        return page.client.socket.stall();
      case 'flow':
        return page.client.socket.flow();
    }
  }

  /** Everything works again, and time passes. */
  async becomeQuiet(): Promise<void> {
    this.#isLosing = false;
    for (const { cluster, pages } of this.installation.nodes) {
      cluster.resume();
      for (const { client } of pages) client.socket.flow();
    }
    await this.installation.pass(QUIET_MS);
  }
}

describe('presence on three nodes', () => {
  it(`is the same everywhere when it is quiet, and the frames add up to it`, async () => {
    const options = fc.record({
      graceMs: fc.constantFrom(0, 3000),
      maxMembers: fc.constantFrom(2, 100),
      maxBufferedBytes: fc.constantFrom(40, 1e6),
      losses: fc.array(fc.boolean(), { minLength: 1, maxLength: 7 }),
    });
    await fc.assert(
      fc.asyncProperty(options, fc.array(step, { maxLength: 60, size: 'max' }), async (chosen, steps) => {
        const installation = await Installation.start(NODES, chosen);
        const world = new World(installation, chosen.losses);
        try {
          for (const { at, step } of steps) await world.run(at, step);
          await world.becomeQuiet();
          for (const name of ROOMS) await check(installation, name, chosen.maxMembers);
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
  }, 60_000);
});

async function check(installation: Installation, room: string, maxMembers: number): Promise<void> {
  const users = installation.usersIn(room);
  const known = installation.membersOf(0, room);
  expect(Object.keys(known)).toEqual(users);
  for (const [index, { pages }] of installation.nodes.entries()) {
    expect(installation.membersOf(index, room)).toEqual(known);
    expect(await installation.askMembers(index, room)).toEqual(known);
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
