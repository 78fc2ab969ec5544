import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { compareMoments, formatId, IdClock, parseId } from '../../src/model/id.js';

const START = 1_763_856_000_123;
const moment = fc.record({ time: fc.nat(), sequence: fc.nat() });

describe('an id', () => {
  it('reads back as what it was written from', () => {
    fc.assert(fc.property(moment, value => expect(parseId(formatId(value))).toEqual(value)));
  });

  it.each([
    '',
    '1',
    '1-',
    '-1',
    '1-2-3',
    '1--2',
    '+1-2',
    '1.5-2',
    ' 1-2',
    '1-2\n',
    '1e3-2',
    '0x1-2',
    'a-b',
    '１-２',
  ])('is not %j', text => expect(parseId(text)).toBeUndefined());

  it('is none when its numbers would lose digits', () => {
    expect(parseId(`${'9'.repeat(15)}-0`)).toEqual({ time: 999_999_999_999_999, sequence: 0 });
    expect(parseId(`${'9'.repeat(16)}-0`)).toBeUndefined();
    expect(parseId(`0-${'9'.repeat(16)}`)).toBeUndefined();
  });

  it('orders by time, then sequence, as numbers', () => {
    const sign = (a: string, b: string) => {
      const [x, y] = [parseId(a), parseId(b)];
      if (x === undefined || y === undefined) throw new Error('no id');
      return Math.sign(compareMoments(x, y));
    };
    expect(sign('9-0', '10-0')).toBe(-1);
    expect(sign('5-10', '5-9')).toBe(1);
    expect(sign('5-5', '5-5')).toBe(0);
    expect(sign('4-99', '5-0')).toBe(-1);
  });
});

describe('the clock of ids', () => {
  function clockAt(...times: number[]): IdClock {
    return new IdClock({ now: () => times.shift() ?? 0, elapsed: () => 0 }, { time: START, sequence: 4 });
  }

  it('gives the time, and counts what falls into the same millisecond', () => {
    const clock = clockAt(START + 1, START + 1, START + 1, START + 2);
    expect([clock.next(), clock.next(), clock.next(), clock.next()].map(formatId)).toEqual([
      `${START + 1}-0`,
      `${START + 1}-1`,
      `${START + 1}-2`,
      `${START + 2}-0`,
    ]);
  });

  it('goes on counting behind the last id while the clock stands behind it', () => {
    const clock = clockAt(START, START - 3_600_000, START, START + 1);
    expect([clock.next(), clock.next(), clock.next(), clock.next()].map(formatId)).toEqual([
      `${START}-5`,
      `${START}-6`,
      `${START}-7`,
      `${START + 1}-0`,
    ]);
  });

  it('only ever increases, whatever the clock does', () => {
    fc.assert(
      fc.property(moment, fc.array(fc.nat(5)), (last, times) => {
        const clock = new IdClock({ now: () => times.shift() ?? 0, elapsed: () => 0 }, last);
        let before = last;
        for (let left = times.length; left > 0; left--) {
          const next = clock.next();
          expect(compareMoments(next, before)).toBeGreaterThan(0);
          before = next;
        }
      }),
    );
  });

  it('goes on at its own pace while the clock is set back', () => {
    let now = START;
    let elapsed = 7;
    const clock = new IdClock({ now: () => now, elapsed: () => elapsed }, { time: 0, sequence: 0 });
    expect(clock.now()).toBe(START);
    now -= 3_600_000;
    elapsed += 90_000.5;
    expect(clock.now()).toBe(START + 90_000);
    expect(formatId(clock.next())).toBe(`${START + 90_000}-0`);
    now = START + 200_000;
    expect(clock.now()).toBe(START + 200_000);
  });
});
