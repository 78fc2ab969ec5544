import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Schedule, type Scheduled, type ScheduleReceipt } from '../../src/core/schedule.js';
import { systemAfter } from '../../src/model/clock.js';
import type { Id } from '../../src/model/id.js';
import type { Notification } from '../../src/model/notification.js';
import { Problem, unavailable } from '../../src/model/problem.js';
import { ALWAYS_HELD, type Stores } from '../../src/storage/store.js';
import { newDirectory, openStores } from '../storage/disk-stores.js';
import { localCluster } from '../support/cluster.js';
import { Network, VirtualNode } from '../support/virtual-cluster.js';
import { ask, type Health, isAwayError, VirtualStores } from '../support/virtual-stores.js';
import { turn } from './fakes.js';

const RUNS = Number(process.env.PROPERTY_RUNS ?? 150);
const NODES = 3;
const LEASE_MS = 5000;
const KEYS = ['k1', 'k2', undefined, undefined];
// Longer than all leases, checks and pauses together.
const QUIET_MS = 20_000;
const TURNS = 3;
const MANY = 100_000;
// So many alarms at one moment are a loop that asks the stores again and again.
const MOST_AT_ONCE = 3000;

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** A notification that went into the journal. */
interface Appended {
  readonly data: string;
  readonly key: string | undefined;
  /** When, by the journal's clock. */
  readonly time: number;
}

interface Added {
  readonly data: string;
  readonly key: string | undefined;
  readonly at: number;
  receipt: ScheduleReceipt | undefined;
}

/** Some nodes in virtual time, with the stores, the journal and the lease that they share. */
class Nodes {
  readonly network = new Network();
  readonly nodes: { readonly cluster: VirtualNode; readonly schedule: Schedule }[] = [];
  readonly journal: Appended[] = [];
  readonly added: Added[] = [];
  /** Ids that were taken back, for certain or perhaps. */
  readonly cancelled = new Set<string>();
  readonly perhapsCancelled = new Set<string>();
  /** Errors that are no outage. */
  readonly faults: unknown[] = [];
  readonly stores: VirtualStores;
  journalHealth: Health = 'well';
  /** What the system's clock was set forward. */
  skew = 0;
  #appends = 0;
  readonly #firsts = new Map<string, Notification>();
  #now = 0;
  #names = 0;

  constructor(stores?: Stores) {
    this.stores = new VirtualStores(() => this.network, LEASE_MS, stores);
  }

  /** Calls of stores and of the journal. */
  get calls(): number {
    return this.stores.calls + this.#appends;
  }

  static async start(count: number, stores?: Stores): Promise<Nodes> {
    const nodes = new Nodes(stores);
    for (let index = 0; index < count; index++) await nodes.start();
    await nodes.pass(1500);
    return nodes;
  }

  /** The journal's clock: it never goes back. */
  readonly now = (): number => {
    this.#now = Math.max(this.#now, this.network.time.clock.now() + this.skew);
    return this.#now;
  };

  async start(): Promise<void> {
    const cluster = new VirtualNode(this.network, `node${this.#names++}`, () => '');
    const schedule = new Schedule({
      store: this.stores.open<Scheduled>(cluster, 'schedule'),
      keys: this.stores.open<string>(cluster, 'schedule-keys'),
      lease: this.stores.lease(cluster),
      cluster,
      append: notification => this.#append(cluster, notification),
      // What was sent before is the business of the journals' own tests.
      firstSent: async () => undefined,
      now: this.now,
      after: cluster.after,
      refused: problem => void this.faults.push(problem),
      failed: error => void (isOutage(error) || this.faults.push(error)),
    });
    await cluster.start();
    void schedule.start();
    this.nodes.push({ cluster, schedule });
  }

  async kill(index: number): Promise<void> {
    await this.nodes[index]?.cluster.stop();
    this.nodes.splice(index, 1);
  }

  /** Adds a notification. It need not be durable when this returns. */
  add(node: number, inMs: number, key?: string): Promise<void> {
    const data = String(this.added.length);
    const at = this.now() + inMs;
    const added: Added = { data, key, at, receipt: undefined };
    this.added.push(added);
    const { schedule } = this.nodes[node] as this['nodes'][number];
    return schedule.add(notificationOf(data, key, at), at).then(
      receipt => {
        if ('scheduled' in receipt) added.receipt = receipt;
      },
      error => void (isOutage(error) || this.faults.push(error)),
    );
  }

  async cancel(node: number, id: string): Promise<void> {
    this.perhapsCancelled.add(id);
    const { schedule } = this.nodes[node] as this['nodes'][number];
    try {
      const isCancelled = await schedule.cancel(id);
      if (isCancelled) this.cancelled.add(id);
    } catch (error) {
      if (!isOutage(error)) this.faults.push(error);
    }
  }

  /** Lets time pass, and everything that happens in it happen. */
  async pass(milliseconds: number): Promise<void> {
    await settle();
    for (let [left, atOnce] = [milliseconds, 0]; left > 0; ) {
      const passed = this.network.time.pass(left);
      atOnce = passed === 0 ? atOnce + 1 : 0;
      if (atOnce > MOST_AT_ONCE) throw new Error('it works on and on, and no time passes');
      left -= passed;
      await settle();
    }
  }

  /** All is well again, and all moments have come. */
  async end(): Promise<void> {
    this.stores.health = 'well';
    this.journalHealth = 'well';
    for (const { cluster } of this.nodes) cluster.resume();
    await this.pass(QUIET_MS);
    this.skew += 10_000_000;
    await this.pass(QUIET_MS);
  }

  #append(cluster: VirtualNode, notification: Notification): Promise<Id> {
    this.#appends++;
    return ask(this.network, cluster, this.journalHealth, async () => {
      const { key, data } = notification;
      const first = key === undefined ? undefined : this.#firsts.get(key);
      if (first === undefined) {
        if (key !== undefined) this.#firsts.set(key, notification);
        this.journal.push({ data, key, time: this.now() });
      }
      return `${this.now()}-0` as Id;
    }).catch(error => {
      throw isOutage(error) ? unavailable('away', 1) : error;
    });
  }
}

function notificationOf(data: string, key: string | undefined, at: number): Notification {
  return { addresses: ['room:a'], event: 'e', data, except: [], key, ttl: undefined, at };
}

function isOutage(error: unknown): boolean {
  if (error instanceof Problem) return error.code === 'unavailable';
  return isAwayError(error);
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < TURNS; turns++) await turn();
}

type Step =
  | { do: 'add'; inMs: number; key: string | undefined }
  | { do: 'cancel'; which: number }
  | { do: 'pass' | 'jump'; milliseconds: number }
  | { do: 'health'; part: 'stores' | 'journal'; is: Health }
  | { do: 'kill' | 'pause' | 'resume' | 'lose lease' };

function only<T>(weight: number, arbitrary: fc.Arbitrary<T>) {
  return { weight, arbitrary };
}

const step: fc.Arbitrary<{ at: number; step: Step }> = fc.record({
  at: fc.nat(NODES - 1),
  step: fc.oneof(
    only(
      8,
      fc.record({
        do: fc.constant('add' as const),
        inMs: fc.constantFrom(1, 2, 3, 500, 1500, 4000),
        key: fc.constantFrom(...KEYS),
      }),
    ),
    only(4, fc.record({ do: fc.constant('cancel' as const), which: fc.nat(5) })),
    only(
      6,
      fc.record({
        do: fc.constant('pass' as const),
        milliseconds: fc.constantFrom(0, 1, 2, 3, 499, 1000, 3000, 7000),
      }),
    ),
    only(
      1,
      fc.record({
        do: fc.constant('jump' as const),
        milliseconds: fc.constantFrom(-60_000, -700, 700, 60_000),
      }),
    ),
    only(
      3,
      fc.record({
        do: fc.constant('health' as const),
        part: fc.constantFrom('stores' as const, 'journal' as const),
        is: fc.constantFrom('well' as const, 'well' as const, 'away' as const, 'unsure' as const),
      }),
    ),
    only(
      3,
      fc.record({
        do: fc.constantFrom('kill' as const, 'pause' as const, 'resume' as const, 'lose lease' as const),
      }),
    ),
  ),
});

async function run(nodes: Nodes, at: number, step: Step): Promise<void> {
  const { cluster } = nodes.nodes[at] as Nodes['nodes'][number];
  switch (step.do) {
    case 'pass':
      return nodes.pass(step.milliseconds);
    case 'jump':
      nodes.skew += step.milliseconds;
      return;
    case 'health':
      if (step.part === 'stores') nodes.stores.health = step.is;
      else nodes.journalHealth = step.is;
      return;
    case 'lose lease':
      return nodes.stores.forgetLease();
    case 'pause':
      return cluster.pause();
    case 'resume':
      return cluster.resume();
    case 'kill':
      await nodes.kill(at);
      return nodes.start();
  }
  // Nothing of a paused node works.
  if (cluster.isPaused) return;
  if (step.do === 'add') return void nodes.add(at, step.inMs, step.key);
  const accepted = nodes.added.filter(({ receipt }) => receipt !== undefined);
  const id = accepted.at(-1 - step.which)?.receipt?.scheduled;
  if (id !== undefined) void nodes.cancel(at, id);
}

function check({ added, journal, cancelled, perhapsCancelled, faults }: Nodes): void {
  const timesOf = (data: string) => journal.filter(each => each.data === data).length;
  for (const { data, key, at, receipt } of added) {
    const times = timesOf(data);
    expect({ data, isSentTwice: times > 1 }).toEqual({ data, isSentTwice: false });
    for (const { time } of journal.filter(each => each.data === data))
      expect({ data, isEarly: time < at }).toEqual({ data, isEarly: false });
    if (receipt === undefined || receipt.duplicate) continue;
    const { scheduled } = receipt;
    if (cancelled.has(scheduled)) expect({ data, cancelled: true, times }).toMatchObject({ times: 0 });
    else if (!perhapsCancelled.has(scheduled)) {
      // The journal keeps the first with a key.
      const sent = key === undefined ? times : journal.filter(each => each.key === key).length;
      expect({ data, key, sent }).toMatchObject({ sent: 1 });
    }
  }
  expect(faults).toEqual([]);
}

describe('what is to be sent later', () => {
  it('is sent once, not before its moment, and never if it was taken back, whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async steps => {
        const nodes = await Nodes.start(NODES);
        for (const { at, step } of steps) await run(nodes, at, step);
        await nodes.end();
        check(nodes);
      }),
      { numRuns: RUNS },
    );
  }, 60_000);

  it('goes in the order of the moments, and of the posts at one moment', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ later: fc.nat(3), key: fc.boolean(), passes: fc.constantFrom(0, 0, 1, 50) }), {
          maxLength: 250,
          size: 'max',
        }),
        async posts => {
          const nodes = await Nodes.start(1);
          const start = nodes.now() + 20_000;
          for (const [index, { later, key, passes }] of posts.entries()) {
            void nodes.add(0, start + later - nodes.now(), key ? `${index}` : undefined);
            if (passes > 0) await nodes.pass(passes);
          }
          await nodes.end();
          check(nodes);
          const inOrder = [...nodes.added].sort((a, b) => a.at - b.at || Number(a.data) - Number(b.data));
          expect(nodes.journal.map(({ data }) => data)).toEqual(inOrder.map(({ data }) => data));
        },
      ),
      { numRuns: 30 },
    );
  }, 30_000);

  it('waits for the next look while the journal does not work, or another node sends', async () => {
    const nodes = await Nodes.start(NODES);
    nodes.journalHealth = 'away';
    void nodes.add(0, 1);
    await nodes.pass(1500);
    const before = nodes.calls;
    await nodes.pass(10_000);
    // A node that does not send asks twice in a second, the one that sends some times more.
    expect(nodes.calls - before).toBeLessThan(10 * NODES * 6);
    nodes.journalHealth = 'well';
    await nodes.pass(1100);
    expect(nodes.journal).toHaveLength(1);
  });

  it('is sent at its moment, also if it came while the node was looking', async () => {
    const nodes = await Nodes.start(1);
    for (let after = 0; after < 12; after++) {
      void nodes.add(0, 100_000);
      await nodes.pass(1000 - after);
      for (let millisecond = 0; millisecond < after; millisecond++) await nodes.pass(1);
      void nodes.add(0, 3);
      await nodes.pass(20);
      expect(nodes.journal).toHaveLength(after + 1);
    }
  });

  it('can be taken back at any node, also when nothing has waited for long', async () => {
    const nodes = await Nodes.start(NODES);
    await nodes.pass(QUIET_MS);
    const unknown = `${'0'.repeat(15)}-${'0'.repeat(15)}-000000-abc`;
    const { schedule } = nodes.nodes[1] as Nodes['nodes'][number];
    const answered = schedule.cancel(unknown);
    await nodes.pass(10);
    expect(await answered).toBe(false);
    await nodes.pass(QUIET_MS);
    void nodes.add(0, 60_000);
    await nodes.pass(2);
    const [added] = nodes.added;
    void nodes.cancel(2, added?.receipt?.scheduled ?? '');
    await nodes.pass(10);
    expect(nodes.cancelled.size).toBe(1);
    await nodes.end();
    check(nodes);
  });

  it.each([
    '',
    'x',
    '1-1',
    '../..',
    '\ud800',
    'é'.repeat(600),
    `${'1'.repeat(15)}-`,
    '~',
    '\0',
    'ask another',
  ])('never waited under an id as %j', async id => {
    const nodes = await Nodes.start(1);
    const answered = (nodes.nodes[0] as Nodes['nodes'][number]).schedule.cancel(id);
    await nodes.pass(10);
    expect(await answered).toBe(false);
  });

  it(`takes no memory: ${MANY.toLocaleString('en')} wait on disk`, async () => {
    const stores = await openStores(newDirectory());
    let now = 1_000_000;
    const sent: string[] = [];
    const schedule = new Schedule({
      store: stores.open('schedule'),
      keys: stores.open('schedule-keys'),
      lease: ALWAYS_HELD,
      cluster: localCluster(),
      firstSent: async () => undefined,
      append: async ({ data }) => `${sent.push(data)}-0`,
      now: () => now,
      after: systemAfter,
      refused: unexpected,
      failed: unexpected,
    });
    await schedule.start();
    const addGroup = async (from: number) => {
      const group = Array.from({ length: 5000 }, (_, index) => {
        const at = now + 60_000 + (from + index) / 1000;
        return schedule.add(
          notificationOf(`"${from + index} ${'x'.repeat(200)}"`, undefined, at),
          Math.floor(at),
        );
      });
      await Promise.all(group);
    };
    await addGroup(0);
    const before = heapBytes();
    for (let from = 5000; from < MANY; from += 5000) await addGroup(from);
    const taken = heapBytes() - before;
    expect(taken / MANY).toBeLessThan(100);
    // A look reads a few of them, not all.
    now += 60_001;
    // The disk takes its time.
    while (sent.length < 100) await turn();
    expect(sent.length).toBeLessThan(MANY / 2);
    await schedule.stop();
    expect(sent).toEqual(sent.toSorted((a, b) => numberOf(a) - numberOf(b)));
  }, 40_000);
});

/** The number that a text in quotes begins with. */
function numberOf(text: string): number {
  return Number.parseInt(text.slice(1), 10);
}

function heapBytes(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

function unexpected(error: unknown): never {
  throw error;
}
