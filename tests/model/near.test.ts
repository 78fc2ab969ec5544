import { describe, expect, it } from '@jest/globals';
import { isNear } from '../../src/model/near.js';

describe('a word that is near another', () => {
  it.each([
    ['is it', 'event', 'event', true],
    ['has one letter more', 'events', 'event', true],
    ['has one letter less', 'vent', 'event', true],
    ['has another letter', 'evemt', 'event', true],
    ['has two neighbours swapped', 'evnet', 'event', true],
    ['has one of two equal letters', 'rom', 'room', true],
    ['has two letters more', 'eventss', 'event', false],
    ['has two other letters', 'evqqt', 'event', false],
    ['has two letters swapped that are no neighbours', 'nveet', 'event', false],
    ['is of one letter', 'a', '', true],
  ])('%s: %s, %s: %s', (_what, a, b, near) => {
    expect(isNear(a, b)).toBe(near);
    expect(isNear(b, a)).toBe(near);
  });
});
