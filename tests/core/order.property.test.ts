import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Program, type Since, type Step } from './program.js';

const RUNS = Number(process.env.PROPERTY_RUNS ?? 1500);
const SLOTS = 3;

const slot = fc.nat(SLOTS - 1);
const room = fc.constantFrom('a', 'b', 'c');
const user = fc.constantFrom('1', '2');
const none = fc.constant(undefined);
const since: fc.Arbitrary<Since> = fc.oneof(
  { weight: 3, arbitrary: none },
  { weight: 5, arbitrary: fc.nat(8) },
  { weight: 2, arbitrary: fc.constantFrom('own' as const, 'start' as const) },
  { weight: 1, arbitrary: fc.constantFrom('future' as const, 'garbage' as const) },
);
const some = <T>(item: fc.Arbitrary<T>, maxLength: number) => fc.uniqueArray(item, { maxLength });

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      rooms: some(room, 3),
      users: some(user, 1),
      slots: fc.oneof({ weight: 4, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: some(slot, 2) }),
      everyone: fc.oneof(
        { weight: 5, arbitrary: fc.constant(false) },
        { weight: 1, arbitrary: fc.constant(true) },
      ),
      except: fc.oneof({ weight: 4, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: some(slot, 2) }),
      ttl: fc.oneof({ weight: 3, arbitrary: none }, { weight: 2, arbitrary: fc.constantFrom(0, 5) }),
      collapse: fc.oneof({ weight: 2, arbitrary: none }, { weight: 1, arbitrary: fc.constantFrom('x', 'y') }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('connect' as const),
      slot,
      rooms: some(room, 2),
      user: fc.oneof(none, user),
      since,
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('join' as const), slot, room, since }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('leave' as const), slot, room }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('identify' as const), slot, user }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('stall' as const), slot }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('take' as const), slot, writes: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('flow' as const), slot }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('hang up' as const), slot }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.constantFrom(1, 5) }) },
  { weight: 8, arbitrary: fc.constant({ do: 'turn' as const }) },
);
const program = fc.array(step, { maxLength: 70, size: 'max' });

describe('any order of publishing, coming, joining, leaving and stalling', () => {
  it('brings each connection what it is owed, once, in order, and leaves nothing behind', async () => {
    await fc.assert(
      fc.asyncProperty(program, fc.constantFrom(1, 100, 400), async (steps, maxBufferedBytes) => {
        await new Program({ maxBufferedBytes, retentionBytes: 1e9 }).run(steps);
      }),
      { numRuns: RUNS },
    );
  }, 60_000);

  it('keeps to that where the past is short, and closes only those who fell out of it', async () => {
    await fc.assert(
      fc.asyncProperty(program, fc.constantFrom(1, 100, 400), async (steps, maxBufferedBytes) => {
        await new Program({ maxBufferedBytes, retentionBytes: 3700 }).run(steps);
      }),
      { numRuns: RUNS },
    );
  }, 60_000);

  const publish = (room: string): Step => ({
    do: 'publish',
    rooms: [room],
    users: [],
    slots: [],
    everyone: false,
    except: [],
    ttl: undefined,
  });
  const joins = (room: string, since: Since): Step => ({ do: 'join', slot: 0, room, since });
  const connects: Step = { do: 'connect', slot: 0, rooms: [], user: undefined, since: undefined };

  it('does not let what is for others push a slow reader of a quiet room out of the past', async () => {
    const others = Array.from({ length: 6 }, () => publish('b'));
    const program = new Program({ maxBufferedBytes: 1, retentionBytes: 4500 });
    await program.run([
      connects,
      joins('a', undefined),
      { do: 'turn' },
      { do: 'stall', slot: 0 },
      ...['a', 'a', 'b', 'b', 'a'].flatMap((room): Step[] => [publish(room), { do: 'turn' }]),
      { do: 'take', slot: 0, writes: 1 },
      { do: 'turn' },
      { do: 'take', slot: 0, writes: 1 },
      { do: 'turn' },
      ...others,
      { do: 'turn' },
    ]);
    expect(program.fellBehind).toBe(0);
  });

  it('does not bring again what of a past had come when its room was left', async () => {
    const program = new Program({ maxBufferedBytes: 1, retentionBytes: 1e9 });
    const past = [publish('a'), publish('a'), publish('a')];
    await program.run([
      ...past,
      connects,
      joins('a', 'start'),
      { do: 'turn' },
      { do: 'leave', slot: 0, room: 'a' },
      joins('a', 'start'),
    ]);
  });

  it('brings a room that was joined for what comes, and then asked for its past, without a gap', async () => {
    const program = new Program({ maxBufferedBytes: 100, retentionBytes: 1e9 });
    await program.run([connects, joins('a', 'start'), publish('b'), joins('b', undefined), joins('b', 1)]);
  });

  it('brings the longer of two pasts that were asked for one after the other', async () => {
    const program = new Program({ maxBufferedBytes: 100, retentionBytes: 1e9 });
    await program.run([publish('a'), publish('a'), connects, joins('a', 'start'), joins('a', 0)]);
  });
});
