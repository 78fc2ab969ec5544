import fc from 'fast-check';

const space = fc.string({ unit: fc.constantFrom(' ', '\t', '\n', '\r'), maxLength: 2 });
const digits = fc.stringMatching(/^(0|[1-9][0-9]{0,20})$/);
const number = fc
  .tuple(
    fc.constantFrom('', '-'),
    digits,
    fc.constantFrom('', '.0', '.50', '.1234567890123456789'),
    fc.constantFrom('', 'e0', 'E+2', 'e-7'),
  )
  .map(parts => parts.join(''));

const escapes = fc.constantFrom('\\"', '\\\\', '\\/', '\\b', '\\n', '\\u0041', '\\u00e4', '\\ud83d\\ude00');
const halves = fc.constantFrom('\\ud83d', '\\udc00');
const plain = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 3 })
  .map(text => JSON.stringify(text).slice(1, -1));
const brackets = fc.constantFrom('{', '}', '[', ']', ',', ':', ' ');
const stringText = fc
  .array(fc.oneof(plain, escapes, halves, brackets), { maxLength: 5 })
  .map(parts => `"${parts.join('')}"`);

/** Any JSON value, as any text for it: odd numbers, escapes, double members, white space; but none around it. */
export const jsonText: fc.Arbitrary<string> = fc.letrec<{ value: string; list: string; members: string }>(
  tie => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom('null', 'true', 'false'),
      number,
      stringText,
      tie('list'),
      tie('members'),
    ),
    list: fc
      .array(fc.tuple(space, tie('value'), space), { maxLength: 4 })
      .chain(items => space.map(inner => `[${items.map(parts => parts.join('')).join(',') || inner}]`)),
    members: fc
      .array(fc.tuple(space, stringText, space, fc.constant(':'), space, tie('value'), space), {
        maxLength: 4,
      })
      .chain(items => space.map(inner => `{${items.map(parts => parts.join('')).join(',') || inner}}`)),
  }),
).value;

/** White space as JSON allows it between its tokens. */
export const jsonSpace = space;
