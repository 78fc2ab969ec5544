import { afterEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Store, Stores } from '../../src/storage/store.js';

/** Behind every key of these tests. */
const END = '\u{10ffff}'.repeat(4);
const MIB = 1024 * 1024;

/** What a program does with one key. */
type Step =
  | { readonly do: 'put'; readonly key: string; readonly value: unknown }
  | { readonly do: 'remove' | 'get'; readonly key: string };

/** In the order of their UTF-8, by hand. */
const ORDERED = [
  '\0',
  '\0\0',
  '\u0001',
  '\n',
  '\u001f',
  ' ',
  '"',
  '+',
  '-',
  '0',
  '10',
  '2',
  'A',
  '[a',
  'a',
  'a\0',
  'a\0\0',
  'a\u0001',
  'aa',
  'ab',
  'b',
  '\u007f',
  '\u0080',
  'é',
  'я',
  '付',
  '付款',
  '\ue000',
  '\uffff',
  '\u{10000}',
  '😀',
  '\u{10ffff}',
];

const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  '',
  [],
  {},
  'text',
  '\0 \u001f \u2028 "\\ \ud800 付款 😀',
  [null, [1, [2]], { a: [] }],
  { b: 1, a: 2, '': 3, 'ä 😀': null },
  JSON.parse('{"__proto__":1,"constructor":2}'),
  { left: undefined, kept: 1 },
  new Date(0),
];

const NUMBERS = [
  1,
  -1,
  1.5,
  0.1 + 0.2,
  1e21,
  1e-7,
  123456789012345680000,
  2 ** 31,
  2 ** 32,
  2 ** 53 - 1,
  -(2 ** 53),
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  -0,
];

const pieces = fc.constantFrom('a', 'b', '\0', '\u0001', 'ä', '付', '\ue000', '\uffff', '😀', '\u{10ffff}');
const keys = fc.array(pieces, { minLength: 1, maxLength: 3 }).map(texts => texts.join(''));
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('put' as const), key: keys, value: fc.jsonValue() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), key: keys }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('get' as const), key: keys }) },
);
const ranges = fc.record({
  from: fc.oneof(fc.constant(''), keys),
  to: fc.oneof(fc.constant(END), keys),
  limit: fc.oneof(fc.nat(4), fc.constant(1000)),
});
const bursts = fc.array(fc.record({ steps: fc.array(steps, { maxLength: 8 }), range: ranges }), {
  maxLength: 6,
});

/**
 * What src/storage/store.ts promises, for any implementation.
 * @param make stores that nothing was ever written to, each time others; started and stopped by the suite
 */
export function storeContract(kind: string, make: () => Stores): void {
  const made: Stores[] = [];
  afterEach(async () => {
    for (const stores of made.splice(0)) await stores.stop();
  });

  async function start(): Promise<Stores> {
    const stores = make();
    made.push(stores);
    await stores.start();
    return stores;
  }

  const open = async () => (await start()).open<unknown>('things');

  describe(`the ${kind} stores`, () => {
    it('have what was put, the newest of it, and nothing else', async () => {
      const store = await open();
      expect(await store.get('a')).toBeUndefined();
      await store.put('a', 1);
      await store.put('b', 2);
      expect(await store.get('a')).toBe(1);
      await store.put('a', { other: 'longer than before' });
      expect(await store.get('a')).toEqual({ other: 'longer than before' });
      expect(await store.get('b')).toBe(2);
      for (const other of ['A', 'a\0', 'ab', 'c']) expect(await store.get(other)).toBeUndefined();
      expect(await allOf(store)).toEqual([
        ['a', { other: 'longer than before' }],
        ['b', 2],
      ]);
    });

    it('have a key no more that was removed, and tell whether it was there', async () => {
      const store = await open();
      expect(await store.remove('a')).toBe(false);
      await store.put('a', 1);
      await store.put('ab', 2);
      expect(await store.remove('a')).toBe(true);
      expect(await store.get('a')).toBeUndefined();
      expect(await allOf(store)).toEqual([['ab', 2]]);
      expect(await store.remove('a')).toBe(false);
      await store.put('a', 3);
      expect(await allOf(store)).toEqual([
        ['a', 3],
        ['ab', 2],
      ]);
    });

    it('are in the order of the UTF-8 of their keys', async () => {
      const store = await open();
      const bytes = ORDERED.map(key => Buffer.from(key));
      expect(bytes.toSorted(Buffer.compare)).toEqual(bytes);
      // Put in an order that is not theirs: every seventh.
      for (const index of ORDERED.keys()) {
        const key = ORDERED[(index * 7) % ORDERED.length] ?? '';
        await store.put(key, `value of ${key}`);
      }
      expect(await allOf(store)).toEqual(ORDERED.map(key => [key, `value of ${key}`]));
      for (const key of ORDERED) expect(await store.get(key)).toBe(`value of ${key}`);
    });

    it('give a range from its first key up to its last, which is left out', async () => {
      const store = await open();
      for (const key of ['a', 'b', 'b\0', 'c', 'd']) await store.put(key, key);
      const range = async (from: string, to: string) => keysOf(await store.range(from, to, 100));
      expect(await range('b', 'd')).toEqual(['b', 'b\0', 'c']);
      expect(await range('b', 'b\0')).toEqual(['b']);
      expect(await range('b\0', 'c')).toEqual(['b\0']);
      expect(await range('aa', 'cc')).toEqual(['b', 'b\0', 'c']);
      expect(await range('c', 'z')).toEqual(['c', 'd']);
      expect(await range('x', 'z')).toEqual([]);
      expect(await range('', 'b')).toEqual(['a']);
    });

    it('give nothing for a range that ends where it begins, or before', async () => {
      const store = await open();
      for (const key of ['a', 'b', 'c']) await store.put(key, key);
      for (const [from, to] of [
        ['b', 'b'],
        ['c', 'a'],
        ['a', ''],
        ['', ''],
        // The other way round in UTF-16.
        ['😀', '\uffff'],
      ] as const)
        expect(await store.range(from, to, 100)).toEqual([]);
    });

    it('give as much of a range as is asked for, and all of it where that is less', async () => {
      const store = await open();
      for (const key of ['a', 'b', 'c', 'd']) await store.put(key, key);
      const range = async (limit: number) => keysOf(await store.range('b', END, limit));
      expect(await range(0)).toEqual([]);
      expect(await range(1)).toEqual(['b']);
      expect(await range(2)).toEqual(['b', 'c']);
      expect(await range(3)).toEqual(['b', 'c', 'd']);
      for (const limit of [4, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY])
        expect(await range(limit)).toEqual(['b', 'c', 'd']);
    });

    it('take bounds of a range that are longer than any key', async () => {
      const store = await open();
      const longest = 'k'.repeat(1000);
      const stored = ['a', 'k'.repeat(999), longest, `${'k'.repeat(999)}l`, 'z'];
      for (const key of stored) await store.put(key, 1);
      const range = async (from: string, to: string) => keysOf(await store.range(from, to, 100));
      expect(await range(longest, `${longest}\0`)).toEqual([longest]);
      expect(await range(`${longest}\0`, END)).toEqual(stored.slice(3));
      for (const length of [2000, 5000, 100_000]) {
        const long = 'k'.repeat(length);
        expect(await range('', long)).toEqual(stored.slice(0, 3));
        expect(await range(long, END)).toEqual(stored.slice(3));
        expect(await range(long, `${long}k`)).toEqual([]);
      }
    });

    it('tell keys of 1,000 bytes apart', async () => {
      const store = await open();
      const longest = [
        `${'a'.repeat(999)}a`,
        `${'a'.repeat(999)}b`,
        'é'.repeat(500),
        `${'付'.repeat(333)}!`,
        '😀'.repeat(250),
      ];
      for (const key of longest) {
        expect(Buffer.byteLength(key)).toBe(1000);
        await store.put(key, key.slice(-2));
      }
      expect(await allOf(store)).toEqual(longest.map(key => [key, key.slice(-2)]));
      expect(await store.remove(longest[0] ?? '')).toBe(true);
      expect(keysOf(await allOf(store))).toEqual(longest.slice(1));
    });

    it.each([
      ['is empty', ''],
      ['has 1,001 bytes', 'a'.repeat(1001)],
      ['has 1,002 bytes, and fewer characters', 'é'.repeat(501)],
      ['has very many', 'a'.repeat(100_000)],
    ])('refuse a key that %s', async (_what, key) => {
      const store = await open();
      await store.put('a', 1);
      const sentence = /key of a store has 1 to 1000 bytes/;
      await expect(store.put(key, 1)).rejects.toThrow(sentence);
      await expect(store.get(key)).rejects.toThrow(sentence);
      await expect(store.remove(key)).rejects.toThrow(sentence);
      expect(await allOf(store)).toEqual([['a', 1]]);
    });

    it('refuse a key that is not well-formed, which has no UTF-8', async () => {
      const store = await open();
      await store.put('\ufffd', 1);
      for (const key of ['\ud83d', '\ude00', '\ude00\ud83d', 'a\ud83d!']) {
        await expect(store.put(key, 2)).rejects.toThrow(/half a character/);
        await expect(store.get(key)).rejects.toThrow(/half a character/);
        await expect(store.remove(key)).rejects.toThrow(/half a character/);
      }
      expect(await allOf(store)).toEqual([['\ufffd', 1]]);
    });

    it('keep values of every kind that JSON has', async () => {
      const store = await open();
      const values = [...VALUES, ...NUMBERS];
      await Promise.all(values.map((value, index) => store.put(`key ${index}`, value)));
      for (const [index, value] of values.entries())
        expect(JSON.stringify(await store.get(`key ${index}`))).toBe(JSON.stringify(value));
      const all = new Map(await allOf(store));
      for (const [index, value] of values.entries())
        expect(JSON.stringify(all.get(`key ${index}`))).toBe(JSON.stringify(value));
    });

    it('refuse a value that JSON cannot carry; what was there stays', async () => {
      const store = await open();
      await store.put('a', 1);
      const ring: unknown[] = [];
      ring.push(ring);
      for (const value of [undefined, () => 1, Symbol('s'), 1n, { deep: [1n] }, ring])
        await expect(store.put('a', value)).rejects.toThrow(/value of a store is what JSON can carry/);
      expect(await store.get('a')).toBe(1);
      const others = [store.put('b', 2), store.put('a', undefined), store.put('c', 3)];
      expect((await Promise.allSettled(others)).map(({ status }) => status)).toEqual([
        'fulfilled',
        'rejected',
        'fulfilled',
      ]);
      expect(await allOf(store)).toEqual([
        ['a', 1],
        ['b', 2],
        ['c', 3],
      ]);
    });

    it('keep large values, many at a time, beside small ones', async () => {
      const store = await open();
      const texts = Array.from({ length: 8 }, (_, index) =>
        (index % 2 === 0 ? `${index}` : `付${index}`).repeat(MIB).slice(0, MIB),
      );
      await Promise.all(
        texts.flatMap((text, i) => [store.put(`large ${i}`, text), store.put(`small ${i}`, i)]),
      );
      for (const [index, text] of texts.entries()) {
        expect((await store.get(`large ${index}`)) === text).toBe(true);
        expect(await store.get(`small ${index}`)).toBe(index);
      }
      const found = await store.range('large ', 'large 3', 100);
      expect(found.map(([key, value], index) => [key, value === texts[index]])).toEqual([
        ['large 0', true],
        ['large 1', true],
        ['large 2', true],
      ]);
      await store.put('large 0', 'no more');
      await store.put('small 0', texts[1]);
      expect(await store.get('large 0')).toBe('no more');
      expect((await store.get('small 0')) === texts[1]).toBe(true);
    });

    it('carry out calls that do not wait for each other in their order', async () => {
      const store = await open();
      await store.put('there', 1);
      const results = await Promise.all([
        store.put('a', 1),
        store.remove('a'),
        store.remove('a'),
        store.put('a', 2),
        store.put('a', 3),
        store.remove('there'),
        store.put('there', 2),
        store.remove('there'),
        store.remove('never'),
      ]);
      const nothing = undefined;
      expect(results).toEqual([nothing, true, false, nothing, nothing, true, nothing, true, false]);
      expect(await allOf(store)).toEqual([['a', 3]]);
    });

    it('tell each of thousands of calls its own result', async () => {
      const store = await open();
      const numbers = Array.from({ length: 3000 }, (_, index) => index);
      const keyOf = (number: number) => `key ${number}`;
      await Promise.all(numbers.filter(isEven).map(number => store.put(keyOf(number), number)));
      const removed = Promise.all(numbers.map(number => store.remove(keyOf(number))));
      const again = Promise.all(numbers.map(number => store.put(keyOf(number), `${number}`)));
      expect(await removed).toEqual(numbers.map(isEven));
      await again;
      const found = new Map(await allOf(store));
      expect(found.size).toBe(numbers.length);
      for (const number of numbers) expect(found.get(keyOf(number))).toBe(`${number}`);
    });

    it('are apart where their names are', async () => {
      const stores = await start();
      const names = ['a', 'b', 'A', 'a-b', 'a-keys', '1'];
      for (const name of names) await stores.open(name).put('key', `of ${name}`);
      for (const name of names) {
        expect(await stores.open(name).get('key')).toBe(`of ${name}`);
        expect(stores.open(name)).toBe(stores.open(name));
      }
      // Also where one turn changes several.
      const [one, two] = [stores.open('a'), stores.open('b')];
      const changes = [one.put('key', 1), two.remove('key'), two.remove('key'), one.remove('key')];
      expect(await Promise.all(changes)).toEqual([undefined, true, false, true]);
      expect(await allOf(stores.open('A'))).toEqual([['key', 'of A']]);
      expect(await allOf(one)).toEqual([]);
      expect(await allOf(two)).toEqual([]);
    });

    it('keep a value as it was when it was put, whoever changes theirs', async () => {
      const store = await open();
      const value = { list: [1] };
      const putting = store.put('a', value);
      value.list.push(2);
      await putting;
      value.list.push(3);
      expect(await store.get('a')).toEqual({ list: [1] });
      const got = (await store.get('a')) as typeof value;
      got.list.push(4);
      const [[, found] = ['', value]] = (await store.range('a', 'b', 1)) as [string, typeof value][];
      found.list.push(5);
      expect(await store.get('a')).toEqual({ list: [1] });
      expect(await store.range('a', 'b', 1)).toEqual([['a', { list: [1] }]]);
    });

    it('do all of this in any mix', async () => {
      const store = await open();
      await fc.assert(
        fc.asyncProperty(bursts, async program => {
          await Promise.all(keysOf(await allOf(store)).map(key => store.remove(key)));
          const model = new Map<string, string>();
          for (const { steps, range } of program) {
            const before = new Map(model);
            await Promise.all(
              steps.map(step => expectStep(store, model, step, candidates(before, steps, step.key))),
            );
            await expectSame(store, model, range);
          }
        }),
        { numRuns: 150 },
      );
    });

    it('finish what was begun when they are stopped, which may be done twice', async () => {
      const stores = await start();
      const store = stores.open('things');
      await store.put('there', 1);
      const putting = Array.from({ length: 1500 }, (_, index) => store.put(`key ${index}`, index));
      const removing = store.remove('there');
      const [first, second] = [stores.stop(), stores.stop()];
      expect(await removing).toBe(true);
      await Promise.all(putting);
      await Promise.all([first, second]);
      await stores.stop();
    });

    it('answer what was asked for before they are stopped', async () => {
      const stores = await start();
      const store = stores.open('things');
      await store.put('a', 1);
      const reading = [store.get('a'), store.range('a', 'b', 1)];
      await stores.stop();
      expect(await Promise.all(reading)).toEqual([1, [['a', 1]]]);
    });

    it('reject everything from when they are stopped', async () => {
      const stores = await start();
      const store = stores.open('things');
      await store.put('a', 1);
      await store.get('a');
      const begun = store.put('begun', 1);
      const stopped = stores.stop();
      const sentence = /stores are closed/;
      const rejectAll = async () => {
        const calls = [store.put('a', 2), store.remove('a'), store.get('a'), store.range('a', 'b', 1)];
        await Promise.all(calls.map(call => expect(call).rejects.toThrow(sentence)));
        expect(() => stores.open('things')).toThrow(sentence);
        expect(() => stores.open('others')).toThrow(sentence);
      };
      await rejectAll();
      await begun;
      await stopped;
      await rejectAll();
    });
  });
}

/** Everything in it, which are not very many. */
function allOf(store: Store<unknown>): Promise<[string, unknown][]> {
  return store.range('', END, 100_000);
}

function keysOf(entries: readonly (readonly [string, unknown])[]): string[] {
  return entries.map(([key]) => key);
}

function isEven(number: number): boolean {
  return number % 2 === 0;
}

/** The JSON that a key may be found to have while these steps are under way. */
function candidates(
  before: ReadonlyMap<string, string>,
  steps: readonly Step[],
  key: string,
): (string | undefined)[] {
  const changes = steps.filter(step => step.key === key && step.do !== 'get');
  return [
    before.get(key),
    ...changes.map(step => (step.do === 'put' ? JSON.stringify(step.value) : undefined)),
  ];
}

/** Does it to both; the model, which has JSON for each key, is changed at once. */
async function expectStep(
  store: Store<unknown>,
  model: Map<string, string>,
  step: Step,
  readable: readonly (string | undefined)[],
): Promise<void> {
  const { key } = step;
  if (step.do === 'put') {
    model.set(key, JSON.stringify(step.value));
    await store.put(key, step.value);
  } else if (step.do === 'remove') {
    const wasThere = model.delete(key);
    expect(await store.remove(key)).toBe(wasThere);
  } else {
    expect(readable).toContain(JSON.stringify(await store.get(key)));
  }
}

async function expectSame(
  store: Store<unknown>,
  model: ReadonlyMap<string, string>,
  { from, to, limit }: { readonly from: string; readonly to: string; readonly limit: number },
): Promise<void> {
  const sorted = [...model].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const jsons = (entries: [string, unknown][]) => entries.map(([key, value]) => [key, JSON.stringify(value)]);
  expect(jsons(await allOf(store))).toEqual(sorted);
  const isIn = (key: string) =>
    Buffer.compare(Buffer.from(from), Buffer.from(key)) <= 0 &&
    Buffer.compare(Buffer.from(key), Buffer.from(to)) < 0;
  const expected = sorted.filter(([key]) => isIn(key)).slice(0, limit);
  expect(jsons(await store.range(from, to, limit))).toEqual(expected);
  for (const [key, json] of model) expect(JSON.stringify(await store.get(key))).toBe(json);
}
