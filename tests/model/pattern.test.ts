import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { matches } from '../../src/model/pattern.js';

describe('a pattern', () => {
  it.each([
    ['public.*', 'public.', true],
    ['public.*', 'public.a.b', true],
    ['public.*', 'xpublic.a', false],
    ['public.*', 'public', false],
    ['*', '', true],
    ['*', '房间', true],
    ['', '', true],
    ['', 'a', false],
    ['orders', 'orders', true],
    ['orders', 'Orders', false],
    ['orders', 'orders.1', false],
    ['*.admin', 'a.admin.admin', true],
    ['a*b*c', 'aXbXbXc', true],
    ['a*b*c', 'aXcXb', false],
    ['a**b', 'ab', true],
    ['a.c', 'abc', false],
    ['[ab]+', 'a', false],
    ['房*', '房间', true],
  ])('%j fits %j: %j', (pattern, name, fits) => expect(matches(pattern, name)).toBe(fits));

  it('says what the regular expression made of it says', () => {
    // Few letters, so that many patterns match. Some are special in regular expressions.
    const letters = fc.constantFrom('a', 'b', '.', '$', '\n');
    const name = fc.string({ unit: letters, maxLength: 10 });
    const pattern = fc.string({ unit: fc.oneof(letters, fc.constant('*')), maxLength: 8 });
    fc.assert(
      fc.property(pattern, name, (pattern, name) => {
        const source = pattern.split('*').map(part => part.replaceAll(/[.$]/g, '\\$&'));
        expect(matches(pattern, name)).toBe(new RegExp(`^${source.join('[^]*')}$`).test(name));
      }),
      { numRuns: 2000 },
    );
  });

  it('ends soon where backtracking would not end', () => {
    // An algorithm that tries all ways to share 200 letters among 60 stars needs more steps than there are atoms.
    const room = 'a'.repeat(200);
    expect(matches(`${'a*'.repeat(60)}b`, room)).toBe(false);
    expect(matches(`${'*a'.repeat(99)}*b*`, room)).toBe(false);
    expect(matches(`${'a*'.repeat(60)}a`, room)).toBe(true);
  });

  it('looks at each character of a name a few times at most, however long the pattern is', () => {
    // The longest room and the longest pattern that a token may hold.
    const [pattern, name] = [`*${'a'.repeat(100)}*${'a'.repeat(97)}b*`, 'a'.repeat(200)];
    let looks = 0;
    const counted = new Proxy(Object(name), {
      get(text, property) {
        if (/^\d+$/.test(String(property))) looks++;
        const value = text[property];
        return typeof value === 'function' ? value.bind(text) : value;
      },
    });
    expect(matches(pattern, counted)).toBe(false);
    expect(looks).toBeGreaterThan(0);
    expect(looks).toBeLessThanOrEqual(4 * name.length);
  });
});
