import { afterEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { NameIndex } from '../../src/core/name-index.js';
import { turn } from './fakes.js';

const MANY = 100_000;
const A_MINUTE_MS = 60_000;

/** Names that come and go, with their index. */
class Names {
  readonly all = new Set<string>();
  /** How often all of them were read. */
  reads = 0;
  readonly index = new NameIndex(() => this.#read());

  constructor(names: Iterable<string> = []) {
    for (const name of names) this.all.add(name);
  }

  add(name: string): void {
    this.all.add(name);
    this.index.added(name);
  }

  remove(name: string): void {
    this.all.delete(name);
    this.index.removed(name);
  }

  clear(): void {
    this.all.clear();
    this.index.cleared();
  }

  first(prefix: string, after: string, limit: number): string[] {
    return [...this.all]
      .filter(name => name.startsWith(prefix) && name > after)
      .sort()
      .slice(0, limit);
  }

  *#read(): Iterable<string> {
    this.reads++;
    yield* this.all;
  }
}

function numbers(count: number): string[] {
  // In no order.
  return Array.from({ length: count }, (_, number) => `room.${(number * 7919) % count}`);
}

afterEach(() => {
  jest.useRealTimers();
});

describe('an index of names', () => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '/', '😀', '\uffee'), maxLength: 4 });

  it('gives the first names behind a name with a prefix, whatever comes and goes', async () => {
    const act = fc.record({
      what: fc.constantFrom('add', 'remove', 'ask', 'ask', 'clear'),
      name,
      prefix: fc.oneof(fc.constant(''), name),
      limit: fc.integer({ min: 1, max: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(name), fc.array(act, { maxLength: 60 }), async (there, acts) => {
        const names = new Names(there);
        for (const { what, name: about, prefix, limit } of acts) {
          if (what === 'add') names.add(about);
          else if (what === 'remove') names.remove(about);
          else if (what === 'clear' && limit === 1) names.clear();
          else
            expect(await names.index.first(prefix, about, limit)).toEqual(names.first(prefix, about, limit));
        }
      }),
    );
  });

  it('of 100,000 names is made in many turns of the event loop, once for all who ask meanwhile', async () => {
    const names = new Names(numbers(MANY));
    let isDone = false;
    const asked = Promise.all([
      names.index.first('', '', 10),
      names.index.first('room.5', 'room.50', 10),
    ]).then(found => {
      isDone = true;
      return found;
    });
    let turns = 0;
    for (; !isDone; turns++) await turn();
    expect(await asked).toEqual([names.first('', '', 10), names.first('room.5', 'room.50', 10)]);
    expect(names.reads).toBe(1);
    // It works 5 ms in a turn, and needs much longer on any machine.
    expect(turns).toBeGreaterThan(3);
    await names.index.first('', 'room.7', 1000);
    expect(names.reads).toBe(1);
  });

  it('is right when names come and go while it is made', async () => {
    const names = new Names(numbers(MANY));
    let isDone = false;
    const asked = names.index.first('', '', 2 * MANY).then(found => {
      isDone = true;
      return found;
    });
    let changes = 0;
    while (!isDone) {
      await turn();
      if (isDone) break;
      // Some that were read already, some that are to be read, and new ones of which some go again.
      const at = changes++;
      names.remove(`room.${(at * 7919) % MANY}`);
      names.remove(`room.${((MANY - 1 - at) * 7919) % MANY}`);
      names.add(`new.${at}`);
      names.add(`gone.${at}`);
      names.remove(`gone.${at}`);
    }
    expect(changes).toBeGreaterThan(3);
    expect(await asked).toEqual(names.first('', '', 2 * MANY));
  });

  it('that is cleared while it is made is empty, but for what comes after', async () => {
    const names = new Names(numbers(MANY));
    const asked = names.index.first('', '', MANY);
    await turn();
    names.clear();
    names.add('new');
    expect(await asked).toEqual(['new']);
  });

  it('is given up a minute after the last question, and made again for the next', async () => {
    jest.useFakeTimers({ doNotFake: ['performance', 'setImmediate', 'nextTick', 'queueMicrotask'] });
    const names = new Names(['a']);
    await names.index.first('', '', 1);
    jest.advanceTimersByTime(A_MINUTE_MS - 1);
    await names.index.first('', '', 1);
    jest.advanceTimersByTime(A_MINUTE_MS - 1);
    expect(names.reads).toBe(1);
    jest.advanceTimersByTime(1);
    // Nobody tells an index that is not there.
    names.add('b');
    names.remove('a');
    expect(await names.index.first('', '', 5)).toEqual(['b']);
    expect(names.reads).toBe(2);
  });
});
