import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Fifo } from '../../src/model/fifo.js';

describe('fifo', () => {
  it('does what an array with positions does', () => {
    // Runs of pushes and shifts, long enough that the memory of shifted items is freed.
    const steps = fc.array(fc.tuple(fc.nat(120), fc.nat(120)), { maxLength: 12 });
    fc.assert(
      fc.property(steps, runs => {
        const fifo = new Fifo<string>();
        const all: string[] = [];
        let first = 0;
        const check = () => {
          expect([fifo.first, fifo.end, fifo.size]).toEqual([first, all.length, all.length - first]);
          for (const position of [
            -1,
            0,
            first - 1,
            first,
            (first + all.length) >> 1,
            all.length - 1,
            all.length,
          ])
            expect(fifo.at(position)).toBe(position < first ? undefined : all[position]);
        };
        for (const [pushes, shifts] of runs) {
          for (let i = 0; i < pushes; i++) {
            const item = `item ${all.length}`;
            fifo.push(item);
            all.push(item);
          }
          check();
          for (let i = 0; i < shifts; i++)
            expect(fifo.shift()).toBe(first < all.length ? all[first++] : undefined);
          check();
        }
      }),
    );
  });

  it('finds the first that is not before what is looked for', () => {
    const sorted = fc.array(fc.nat(50), { maxLength: 200 }).map(items => items.sort((a, b) => a - b));
    fc.assert(
      fc.property(sorted, fc.nat(200), fc.integer({ min: -1, max: 51 }), (items, shifts, sought) => {
        const fifo = new Fifo<number>();
        for (const item of items) fifo.push(item);
        for (let i = 0; i < shifts; i++) fifo.shift();
        const found = items.findIndex((item, position) => position >= fifo.first && item >= sought);
        expect(fifo.search(item => item < sought)).toBe(found < 0 ? items.length : found);
      }),
    );
  });

  it('keeps an undefined item in its place', () => {
    const fifo = new Fifo<number | undefined>();
    fifo.push(undefined);
    fifo.push(1);
    expect([fifo.size, fifo.shift(), fifo.size, fifo.at(1)]).toEqual([2, undefined, 1, 1]);
  });

  it('keeps positions over a hundred thousand items', () => {
    const fifo = new Fifo<number>();
    const LIVE = 10;
    for (let i = 0; i < 100_000; i++) {
      fifo.push(i);
      if (fifo.size > LIVE) fifo.shift();
    }
    expect([fifo.first, fifo.size, fifo.at(99_999), fifo.at(99_989)]).toEqual([
      99_990,
      LIVE,
      99_999,
      undefined,
    ]);
  });
});
