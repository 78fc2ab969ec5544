import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { StartError } from '../../src/model/start-error.js';
import { DataDirectory } from '../../src/storage/directory.js';
import type { Stores } from '../../src/storage/store.js';
import { makeStores, newDirectory, openStores } from './disk-stores.js';

/**
 * DAMAGES=1000  how many damages the file gets
 * SEED=7        the same damages again. Pages may lie elsewhere in each new file: to see the same file again, keep it
 * TALLY=1       tells what became of them
 * KEEP=folder   where to put damaged files that were neither refused nor served whole
 */
const DAMAGES = Number(process.env.DAMAGES ?? 105);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const { KEEP } = process.env;

const FILE = 'stores.lmdb';
const NAMES = ['schedules', 'webhooks', 'revocations'];
const AT_A_TIME = 2;
// A file may lead the one that reads it in circles, which is ended with the start.
const LONGEST_START_MS = 5000;
const LONGEST_MS = 60_000 + DAMAGES * 1000;

const PAGE = 4096;
const META_PAGES = [0, 1];
// Its number, its transaction, its flags and its two bounds.
const PAGE_HEADER = 24;
const META = 200;
/** In a meta page: which transaction wrote it. The greater one counts. */
const TRANSACTION = 152;
const FLAGS = 18;
/** Where the places of its entries end, two bytes for each. */
const LOWER = 20;
/** Flags of a branch and of a leaf. */
const TREE = 3;
// Its header, and where in it each of its nodes is.
const TREE_FRONT = 100;

/** The JSON of each value, by its key. */
type StoreContents = ReadonlyMap<string, string>;

interface Sound {
  readonly bytes: Buffer;
  /** Of each store. */
  readonly contents: ReadonlyMap<string, StoreContents>;
}

/** What the damage makes of a file. */
type Damage = (bytes: Buffer) => Buffer;

/** What may be done to a file of these bytes. */
const damagesOf: Record<string, (bytes: Buffer) => fc.Arbitrary<Damage>> = {
  'a bit flipped anywhere': bytes => fc.tuple(anywhere(bytes), bit).map(flip),
  'a byte changed anywhere': bytes => fc.tuple(anywhere(bytes), byte).map(flip),
  'some bytes changed anywhere': bytes =>
    fc
      .array(fc.tuple(anywhere(bytes), byte).map(flip), { minLength: 2, maxLength: 20 })
      .map(flips => damaged => flips.reduce((changed, one) => one(changed), damaged)),
  'a byte of a page header changed': bytes => inPages(pagesOf(bytes), PAGE_HEADER),
  'a byte at the front of a tree page changed': bytes => inPages(treePagesOf(bytes), TREE_FRONT),
  'a tree page with fewer entries': bytes =>
    fc
      .tuple(fc.constantFrom(...treePagesOf(bytes)), fc.integer({ min: 1, max: 3 }))
      .map(([page, entries]) => withFewer(page, entries)),
  'a byte of a meta page changed': () => inPages(META_PAGES, META),
  'cut off anywhere': bytes => anywhere(bytes).map(at => damaged => damaged.subarray(0, at)),
  'cut off between pages': bytes => pageIn(bytes).map(page => damaged => damaged.subarray(0, page * PAGE)),
  'zeros in a page': bytes =>
    pageIn(bytes).map(page => damaged => damaged.fill(0, page * PAGE, (page + 1) * PAGE)),
  'zeros from a page on': bytes => pageIn(bytes).map(page => damaged => damaged.fill(0, page * PAGE)),
  'a page like another': bytes =>
    fc.tuple(pageIn(bytes), pageIn(bytes)).map(([from, to]) => damaged => {
      damaged.copy(damaged, to * PAGE, from * PAGE, (from + 1) * PAGE);
      return damaged;
    }),
  'some pages missing in the middle': bytes =>
    fc.tuple(pageIn(bytes), pageIn(bytes)).map(
      ([one, other]) =>
        damaged =>
          without(damaged, Math.min(one, other) * PAGE, (Math.max(one, other) + 1) * PAGE),
    ),
  'some bytes missing in the middle': bytes =>
    fc.tuple(anywhere(bytes), fc.integer({ min: 1, max: 10_000 })).map(
      ([at, length]) =>
        damaged =>
          without(damaged, at, at + length),
    ),
};
const bit = fc.nat(7).map(place => 1 << place);
const byte = fc.integer({ min: 1, max: 255 });

const specialDamages: readonly [string, Damage][] = [
  ['empty', bytes => bytes.subarray(0, 0)],
  ['zeros', bytes => bytes.fill(0)],
  ['zeros in its meta pages', bytes => bytes.fill(0, 0, META_PAGES.length * PAGE)],
  ['something else', () => Buffer.from('this was never a database'.repeat(1000))],
  ['short and something else', () => Buffer.from('no')],
  ['one whose newest state looks older', bytes => withOlder(bytes, 2)],
  ['one whose newest state looks like the first', bytes => withOlder(bytes, Number.POSITIVE_INFINITY)],
  ['followed by garbage', bytes => Buffer.concat([bytes, Buffer.alloc(3 * PAGE + 100, 0xa5)])],
  ['followed by itself', bytes => Buffer.concat([bytes, bytes])],
];

describe('a file of stores', () => {
  let sound: Sound;
  beforeAll(async () => {
    const directory = newDirectory();
    const contents = await fill(directory);
    sound = { contents, bytes: readFileSync(join(directory, FILE)) };
  });

  it('is served whole', async () => {
    expect(await outcomeOf(sound, bytes => bytes)).toBe('served');
  });

  it.each(specialDamages)('is refused or served whole, where it is now %s', async (_what, damage) => {
    expect(['refused', 'served']).toContain(await outcomeOf(sound, damage));
  });

  it('is refused where it is now a directory', async () => {
    const directory = newDirectory();
    mkdirSync(join(directory, FILE));
    checkRefusal(
      await makeStores(directory)
        .start()
        .catch((error: unknown) => error),
    );
  });

  it('is served whole where its newest state looks older, also a moment after a change', async () => {
    const directory = newDirectory();
    const path = join(directory, FILE);
    const stores = await openStores(directory);
    for (const key of ['a', 'b', 'c']) await stores.open('webhooks').put(key, key);
    const contents = new Map([['webhooks', await readAll(stores, 'webhooks')]]);
    const changed = newestTransaction(readFileSync(path));
    let bytes = readFileSync(path);
    for (; newestTransaction(bytes) === changed; bytes = readFileSync(path))
      await new Promise(resolve => setImmediate(resolve));
    // What kill -9 would leave.
    expect(await outcomeOf({ bytes, contents }, damaged => withOlder(damaged, 2))).toBe('served');
  });

  it('is refused or served whole, where one of its stores is not named any more in one of the places', async () => {
    const { bytes } = sound;
    const isNamed = (page: number) => bytes.subarray(page * PAGE, (page + 1) * PAGE).includes('webhooks');
    const pages = treePagesOf(bytes).filter(isNamed);
    const outcomes: string[] = [];
    for (const page of pages) outcomes.push(await outcomeOf(sound, withFewer(page, 1)));
    expect(outcomes.filter(outcome => outcome === 'refused').length).toBeGreaterThanOrEqual(2);
  });

  it(
    `is refused or served whole, whatever is damaged in it: ${DAMAGES} times`,
    async () => {
      const kinds = Object.entries(damagesOf);
      const damages = kinds.flatMap(([kind, arbitrary], index) => {
        const numRuns = Math.floor((DAMAGES + index) / kinds.length);
        const samples =
          numRuns === 0 ? [] : fc.sample(fc.noBias(arbitrary(sound.bytes)), { seed: SEED + index, numRuns });
        return samples.map(damage => ({ kind, damage }));
      });
      const became = new Map<string, number>();
      const faults: string[] = [];
      await together(damages, async ({ kind, damage }, number) => {
        try {
          const outcome = `${kind}: ${await outcomeOf(sound, damage)}`;
          became.set(outcome, (became.get(outcome) ?? 0) + 1);
        } catch (error) {
          faults.push(`number ${number}, ${kind}: ${error instanceof Error ? error.message : error}`);
          if (KEEP !== undefined) keep(damage(Buffer.from(sound.bytes)), `${SEED}-${number}`);
        }
      });
      const tally = [...became].map(([outcome, count]) => `${outcome} ${count}`).sort();
      expect({ seed: SEED, faults, tally }).toEqual({ seed: SEED, faults: [], tally });
      if (process.env.TALLY) process.stdout.write(`${SEED} ${tally.join('\n')}\n`);
    },
    LONGEST_MS,
  );
});

/**
 * What became of a copy of the file; throws where that is neither. To have led its reader in circles, which would be
 * refused in the end, is `too slow`.
 */
async function outcomeOf(
  { bytes, contents }: Sound,
  damage: Damage,
): Promise<'refused' | 'served' | 'too slow'> {
  const directory = newDirectory();
  const path = join(directory, FILE);
  const damaged = damage(Buffer.from(bytes));
  writeFileSync(path, damaged);
  const tooLate = new AbortController();
  const deadline = setTimeout(() => tooLate.abort(), LONGEST_START_MS);
  const stores = makeStores(directory, tooLate.signal);
  try {
    const refusal = await stores.start().catch((error: unknown) => error);
    if (refusal !== undefined) {
      if (tooLate.signal.aborted) return 'too slow';
      checkRefusal(refusal);
      if (!readFileSync(path).equals(damaged)) throw new Error('refused, and changed');
      await new DataDirectory(directory).use();
      return 'refused';
    }
    for (const [name, expected] of contents) checkSame(await readAll(stores, name), expected);
    const store = stores.open('revocations');
    await store.put('one more', 'of them');
    expect(await store.get('one more')).toBe('of them');
    await stores.stop();
    return 'served';
  } finally {
    clearTimeout(deadline);
    rmSync(directory, { recursive: true });
  }
}

/** Two sentences: what is wrong, and what to do. */
function checkRefusal(refusal: unknown): void {
  const sentences =
    /^The file \S+stores\.lmdb cannot be opened: [^\n]+\. If the disk is full, make room\. If the file is damaged, move it away; a new one will be made\.$/;
  if (!(refusal instanceof StartError && sentences.test(refusal.message)))
    throw new Error(`refused with: ${refusal}`);
}

function checkSame(found: StoreContents, expected: StoreContents): void {
  const keys = [...new Set([...found.keys(), ...expected.keys()])];
  const different = keys.filter(key => found.get(key) !== expected.get(key));
  if (different.length > 0) throw new Error(`${different.length} values are missing, too many or others`);
}

/** The JSON of each value. */
async function readAll(stores: Stores, name: string): Promise<StoreContents> {
  const entries = await stores.open(name).range('', '\u{10ffff}', 100_000);
  return new Map(entries.map(([key, value]) => [key, JSON.stringify(value)]));
}

/** Puts and removes this and that. Of its pages nearly all are in use: starting the second time has made it anew. */
async function fill(directory: string): Promise<Map<string, StoreContents>> {
  const numbers = Array.from({ length: 150 }, (_, number) => number);
  const keyOf = (number: number) => `${number % 7} ${'k'.repeat((number * 13) % 90)}`;
  const contents = new Map<string, StoreContents>();
  for (const times of [1, 2]) {
    const stores = await openStores(directory);
    for (const [index, name] of NAMES.entries()) {
      const store = stores.open<unknown>(name);
      const longest = [30, 500, 3000][index] ?? 0;
      const some = numbers.filter(number => times === 1 || number % 10 === 0);
      await Promise.all(
        some.map(number => store.put(keyOf(number), 'abc'.repeat((number * 37 * times) % longest))),
      );
      await Promise.all(some.slice(times, times + 5).map(number => store.remove(keyOf(number))));
      contents.set(name, await readAll(stores, name));
    }
    await stores.stop();
  }
  return contents;
}

function anywhere(bytes: Buffer): fc.Arbitrary<number> {
  return fc.nat(bytes.length - 1);
}

function pageIn(bytes: Buffer): fc.Arbitrary<number> {
  return fc.nat(Math.floor(bytes.length / PAGE) - 1);
}

function inPages(pages: readonly number[], length: number): fc.Arbitrary<Damage> {
  return fc
    .tuple(fc.constantFrom(...pages), fc.nat(length - 1), byte)
    .map(([page, place, xor]) => flip([page * PAGE + place, xor]));
}

/** Those with a header: it begins with the page's number. Behind the first of a long value there are others. */
function pagesOf(bytes: Buffer): number[] {
  const pages = Array.from({ length: Math.floor(bytes.length / PAGE) }, (_, page) => page);
  return pages.filter(page => bytes.readBigUInt64LE(page * PAGE) === BigInt(page));
}

function treePagesOf(bytes: Buffer): number[] {
  return pagesOf(bytes).filter(page => (bytes.readUInt16LE(page * PAGE + FLAGS) & TREE) !== 0);
}

/** As if some of its entries, the last, had never been there. */
function withFewer(page: number, entries: number): Damage {
  return bytes => {
    const at = page * PAGE + LOWER;
    bytes.writeUInt16LE(Math.max(0, bytes.readUInt16LE(at) - 2 * entries), at);
    return bytes;
  };
}

/** As if the transaction that was the last had been so many before. */
function withOlder(bytes: Buffer, by: number): Buffer {
  const newest = newestTransaction(bytes);
  const page = META_PAGES.find(page => transactionOf(bytes, page) === newest) ?? 0;
  bytes.writeBigUInt64LE(BigInt(Math.max(0, newest - by)), page * PAGE + TRANSACTION);
  return bytes;
}

function newestTransaction(bytes: Buffer): number {
  return Math.max(...META_PAGES.map(page => transactionOf(bytes, page)));
}

function transactionOf(bytes: Buffer, page: number): number {
  return Number(bytes.readBigUInt64LE(page * PAGE + TRANSACTION));
}

function flip([at, xor]: readonly [number, number]): Damage {
  return bytes => {
    bytes[at] = (bytes[at] ?? 0) ^ xor;
    return bytes;
  };
}

function without(bytes: Buffer, from: number, to: number): Buffer {
  return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
}

/** Calls it for each of them, some at a time. */
async function together<T>(items: readonly T[], use: (item: T, number: number) => Promise<void>) {
  const queue = items.entries();
  await Promise.all(
    Array.from({ length: AT_A_TIME }, async () => {
      for (const [number, item] of queue) await use(item, number);
    }),
  );
}

function keep(bytes: Buffer, name: string): void {
  const folder = KEEP ?? '';
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.lmdb`), bytes);
}
