import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FirstNames, mergePages, type Page } from '../../src/model/page.js';

// Few names, so that they meet; among them those that UTF-8 and UTF-16 order differently, and prefixes of others.
const name = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b', '/', '😀', '\uffee'), minLength: 1, maxLength: 3 }),
  fc.integer({ min: 0, max: 30 }).map(number => `room.${number}`),
);
const limit = fc.integer({ min: 1, max: 8 });

/** The page of a list that is in memory. */
function sliced<T>(list: ReadonlyMap<string, T>, after: string | undefined, most: number): Page<T> {
  const behind = [...list].filter(([key]) => after === undefined || key > after);
  behind.sort(([a], [b]) => (a < b ? -1 : 1));
  return { items: behind.slice(0, most), more: behind.length > most };
}

describe('the first names of a list in any order', () => {
  it('are those of sorting and slicing, each with everything that was added to it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(name, fc.integer())),
        fc.option(name, { nil: undefined }),
        limit,
        (added, after, most) => {
          const first = new FirstNames<number[]>({ after, limit: most });
          const all = new Map<string, number[]>();
          for (const [key, number] of added) {
            first.add(key, (before = []) => [...before, number]);
            all.set(key, [...(all.get(key) ?? []), number]);
          }
          expect(first.page).toEqual(sliced(all, after, most));
        },
      ),
    );
  });

  it('cost little, however many names there are', () => {
    const first = new FirstNames<number>({ limit: 1000 });
    let calls = 0;
    // From the last to the first: each new name drives another one out.
    for (let number = 99_999; number >= 0; number--)
      first.add(String(number).padStart(5, '0'), () => ++calls);
    expect(first.page.items.map(([key]) => key)).toEqual(
      Array.from({ length: 1000 }, (_, number) => String(number).padStart(5, '0')),
    );
    expect(first.page.more).toBe(true);
  });
});

describe('pages of several nodes', () => {
  // What each node has: names with numbers.
  const nodes = fc.array(
    fc.uniqueArray(fc.tuple(name, fc.nat(9)), { selector: ([key]) => key, maxLength: 20 }),
    { minLength: 1, maxLength: 4 },
  );

  it('make one list: a walk gives each name once, in order, with what all nodes have of it', () => {
    fc.assert(
      // A node may cut a page anywhere behind its first item: it has too many bytes.
      fc.property(nodes, limit, fc.infiniteStream(fc.integer({ min: 1, max: 8 })), (lists, most, cuts) => {
        const all = new Map<string, number>();
        for (const [key, number] of lists.flat()) all.set(key, (all.get(key) ?? 0) + number);
        const walked: [string, number][] = [];
        for (let after: string | undefined, more = true; more; after = walked.at(-1)?.[0]) {
          const pages = lists.map(list =>
            sliced(new Map(list), after, Math.min(most, cuts.next().value ?? most)),
          );
          const page = mergePages(pages, most, (a, b) => a + b);
          expect(page.items.length).toBeLessThanOrEqual(most);
          more = page.more;
          // Otherwise a caller would have no name to go on from.
          if (more) expect(page.items.length).toBeGreaterThan(0);
          walked.push(...page.items);
        }
        expect(walked).toEqual(sliced(all, undefined, all.size).items);
      }),
    );
  });

  it('join in any order of the nodes', () => {
    const a: Page<string[]> = {
      items: [
        ['x', ['a']],
        ['z', ['a']],
      ],
      more: true,
    };
    const b: Page<string[]> = {
      items: [
        ['x', ['b']],
        ['y', ['b']],
      ],
      more: true,
    };
    const join = (one: string[], two: string[]) => [...one, ...two].sort();
    for (const pages of [
      [a, b],
      [b, a],
    ])
      expect(mergePages(pages, 10, join)).toEqual({
        items: [
          ['x', ['a', 'b']],
          ['y', ['b']],
        ],
        more: true,
      });
  });

  it('of nodes that have nothing are the end', () => {
    const nothing: Page<number> = { items: [], more: false };
    expect(mergePages([nothing, nothing], 5, a => a)).toEqual({ items: [], more: false });
    expect(mergePages([], 5, (a: number) => a)).toEqual({ items: [], more: false });
  });
});
