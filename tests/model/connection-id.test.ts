import { describe, expect, it } from '@jest/globals';
import { isConnectionId } from '../../src/model/address.js';
import { newConnectionId } from '../../src/model/connection-id.js';

// More than the pool holds at once.
const ids = Array.from({ length: 5000 }, newConnectionId);

describe('a connection id', () => {
  it('is two decimal integers joined by a dot', () => {
    for (const id of ids) expect(id).toMatch(/^(0|[1-9]\d*)\.(0|[1-9]\d*)$/);
    expect(ids.every(isConnectionId)).toBe(true);
  });

  it('is never given twice', () => expect(new Set(ids).size).toBe(ids.length));

  it('is random in at least 64 bits', () => {
    const bits = ids.map(id => id.split('.').map(half => BigInt(half).toString(2).padStart(48, '0')));
    for (const half of [0, 1]) {
      for (let at = 48 - 32; at < 48; at++) {
        const ones = bits.filter(halves => halves[half]?.[at] === '1').length;
        // Ten standard deviations: random bits never differ so much.
        expect(Math.abs(ones - ids.length / 2)).toBeLessThan(354);
      }
    }
  });
});
