import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Seen } from '../../src/core/seen-ranges.js';
import type { Address } from '../../src/model/address.js';

describe('what was seen', () => {
  it('is what a set of positions says', () => {
    const range = fc.record({
      address: fc.constantFrom<Address>('room:a', 'room:b'),
      from: fc.nat(60),
      length: fc.integer({ min: 1, max: 12 }),
    });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 40 }), ranges => {
        const seen = new Seen();
        const positions = new Map<Address, Set<number>>([
          ['room:a', new Set()],
          ['room:b', new Set()],
        ]);
        for (const { address, from, length } of ranges) {
          expect(seen.add(address, { from, until: from + length }, 0)).toBe(true);
          for (let position = from; position < from + length; position++)
            positions.get(address)?.add(position);
        }
        for (const [address, known] of positions)
          for (let position = 0; position < 80; position++)
            expect(seen.has(address, position)).toBe(known.has(position));
        expect(seen.forgotten).toBe(0);
      }),
    );
  });

  it('is forgotten as a whole where it gets too much, and says up to where', () => {
    const seen = new Seen();
    let until = 0;
    const addNext = () => {
      until += 2;
      return seen.add('room:a', { from: until - 1, until }, 0);
    };
    let count = 0;
    while (addNext()) count++;
    expect(count).toBe(1000);
    expect(seen.forgotten).toBe(until);
    expect(seen.has('room:a', 1)).toBe(false);
    expect(addNext()).toBe(true);
    expect(seen.has('room:a', until - 1)).toBe(true);
  });

  it('keeps room for what the window still has', () => {
    const seen = new Seen();
    for (let at = 0; at < 5000; at += 2)
      expect(seen.add('room:a', { from: at, until: at + 1 }, at - 100)).toBe(true);
    expect(seen.has('room:a', 4998)).toBe(true);
    expect(seen.forgotten).toBe(0);
  });
});
