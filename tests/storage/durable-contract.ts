import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import type { Store, Stores } from '../../src/storage/store.js';

const PUT_FOR_EVER = fileURLToPath(new URL('put-for-ever.js', import.meta.url));
const KILLS = 6;
const LONGEST_MS = 60_000;

/** Where stores are kept. */
export interface Place {
  /** Stores there, started. */
  open(): Promise<Stores>;
  /** What `put-for-ever.js` is given for them. */
  readonly words: readonly string[];
}

interface Thing {
  readonly lane: number;
  readonly number: number;
  readonly length: number;
  readonly text: string;
}

/** What stores promise beside that which outlive their process. @param newPlace a place where nothing was put yet */
export function durableContract(kind: string, newPlace: () => Place): void {
  describe(`what was put into the ${kind} stores`, () => {
    it('is there for the next ones, in each store, as it was left', async () => {
      const place = newPlace();
      const names = ['a', 'b', 'c'];
      const expected = new Map<string, [string, unknown][]>(names.map(name => [name, []]));
      for (let round = 0; round < 4; round++) {
        const stores = await place.open();
        for (const name of names) {
          const store = stores.open<unknown>(name);
          const before = expected.get(name) ?? [];
          expect(await allOf(store)).toEqual(before);
          // The first of each round goes in the next one; the others stay.
          await Promise.all(before.slice(0, 1).map(([key]) => store.remove(key)));
          const added = Array.from({ length: 5 }, (_, index): [string, unknown] => [
            `${round} ${index}`,
            { name, text: '付'.repeat(index * 3000) },
          ]);
          await Promise.all(added.map(([key, value]) => store.put(key, value)));
          expected.set(name, [...before.slice(1), ...added]);
        }
        // One that nothing is put into, and one that is emptied.
        stores.open('empty');
        await stores.open('emptied').put('a', round);
        expect(await stores.open('emptied').remove('a')).toBe(true);
        await stores.stop();
      }
      const last = await place.open();
      for (const name of ['empty', 'emptied']) expect(await allOf(last.open(name))).toEqual([]);
    });

    it('is there, too, where they were stopped before that was answered', async () => {
      const place = newPlace();
      const stores = await place.open();
      const store = stores.open<number>('things');
      const numbers = Array.from({ length: 1500 }, (_, index) => index);
      const putting = Promise.all(numbers.map(number => store.put(`key ${number}`, number)));
      await stores.stop();
      await putting;
      const next = (await place.open()).open<number>('things');
      expect(new Map(await allOf(next))).toEqual(new Map(numbers.map(number => [`key ${number}`, number])));
    });

    it(
      `is there after kill -9, ${KILLS} times, and nothing is half there`,
      async () => {
        const place = newPlace();
        const known = new Known();
        for (let kill = 0; kill < KILLS; kill++) {
          for (const line of await printedUntilKilled(place.words, randomInt(1, 500))) known.read(line);
          const stores = await place.open();
          known.check(new Map(await allOf(stores.open<Thing>('things'))));
          await stores.stop();
        }
      },
      LONGEST_MS,
    );
  });
}

/** The whole lines of a process that was killed when it had printed so many. */
async function printedUntilKilled(words: readonly string[], count: number): Promise<string[]> {
  const child = spawn(process.execPath, [PUT_FOR_EVER, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (output.split('\n').length > count) child.kill('SIGKILL');
  });
  const code = await new Promise(resolve => child.once('close', resolve));
  if (code !== null) throw new Error(`it ended by itself, with ${code}: ${output}`);
  return output.split('\n').slice(0, -1);
}

/** What is known of the things of `put-for-ever.js`. */
class Known {
  /** The things that were put, and those of which it is not known whether they are removed. */
  readonly #state = new Map<string, 'put' | 'removing' | 'removed'>();
  /** The newest number of each lane. */
  readonly #last = new Map<number, number>();

  read(line: string): void {
    const [what, lane = '', number = '', wasThere] = line.split(' ');
    const key = `thing ${lane} ${number}`;
    if (what === 'put') {
      expect(Number(number)).toBeGreaterThan(this.#last.get(Number(lane)) ?? -1);
      this.#last.set(Number(lane), Number(number));
      this.#state.set(key, 'put');
    } else if (what === 'removing' || what === 'removed') {
      this.#state.set(key, what);
      if (what === 'removed') expect(wasThere).toBe('true');
    } else throw new Error(line);
  }

  check(found: ReadonlyMap<string, Thing>): void {
    for (const [key, { lane, number, length, text }] of found) {
      expect([`thing ${lane} ${number}`, `last ${lane}`]).toContain(key);
      expect(text).toBe('x'.repeat(length));
    }
    for (const [key, state] of this.#state) {
      if (state !== 'removing') expect([key, found.has(key)]).toEqual([key, state === 'put']);
    }
    expect(this.#last.size).toBeGreaterThan(0);
    for (const [lane, last] of this.#last) {
      // One more may be durable that nobody was told of.
      const there = found.get(`last ${lane}`)?.number ?? -1;
      expect([last, last + 1]).toContain(there);
      expect(found.has(`thing ${lane} ${there}`)).toBe(true);
      this.#last.set(lane, there);
    }
  }
}

/** Everything in it, which is not very much. */
function allOf<V>(store: Store<V>): Promise<[string, V][]> {
  return store.range('', '\u{10ffff}', 1_000_000);
}
