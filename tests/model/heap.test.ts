import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Heap } from '../../src/model/heap.js';

describe('a heap', () => {
  it('gives the least item first, whatever is added and taken in between', () => {
    const steps = fc.array(fc.oneof(fc.integer(), fc.constant('take' as const)), { maxLength: 200 });
    fc.assert(
      fc.property(steps, steps => {
        const heap = new Heap<number>((a, b) => a < b);
        const items: number[] = [];
        for (const step of steps) {
          if (step === 'take') expect(heap.pop()).toBe(items.shift());
          else {
            heap.push(step);
            items.push(step);
            items.sort((a, b) => a - b);
          }
          expect(heap.first).toBe(items[0]);
        }
      }),
    );
  });
});
