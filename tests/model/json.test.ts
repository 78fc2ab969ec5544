import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { elementTexts, memberText } from '../../src/model/json.js';
import { jsonSpace, jsonText } from '../support/json-text.js';

const spaced = fc.tuple(jsonSpace, jsonText, jsonSpace);
const name = fc.oneof(fc.constantFrom('data', 'dat', 'data ', '', '__proto__', '"', '\\', 'ä'), fc.string());
/** A member's name as JSON, with all its characters escaped, or none. */
const literal = (text: string, escaped: boolean) =>
  escaped
    ? `"${[...Array(text.length).keys()]
        .map(at => `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`)
        .join('')}"`
    : JSON.stringify(text);

describe('the texts in JSON', () => {
  it('the generator of these tests makes JSON', () => {
    fc.assert(fc.property(jsonText, text => void JSON.parse(text)));
  });

  it('are those of the elements of an array', () => {
    fc.assert(
      fc.property(fc.array(spaced), jsonSpace, (items, around) => {
        const array = `${around}[${items.map(parts => parts.join('')).join(',') || around}]${around}`;
        expect([...elementTexts(array)]).toEqual(items.map(([, text]) => text));
      }),
    );
  });

  it('parse to the elements', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.nat(4), (values, indent) => {
        const texts = [...elementTexts(JSON.stringify(values, null, indent))];
        expect(texts.map(text => JSON.parse(text))).toEqual(JSON.parse(JSON.stringify(values)));
      }),
    );
  });

  it('are those of the members of an object, the last of several of one name', () => {
    const members = fc.array(fc.tuple(name, fc.boolean(), spaced, jsonSpace), { maxLength: 6 });
    fc.assert(
      fc.property(members, name, jsonSpace, (items, other, around) => {
        const texts = items.map(
          ([name, escaped, value, space]) => `${space}${literal(name, escaped)}${space}:${value.join('')}`,
        );
        const object = `${around}{${texts.join(',') || around}}${around}`;
        for (const sought of [other, ...items.map(([name]) => name)])
          expect(memberText(object, sought)).toBe(items.findLast(([name]) => name === sought)?.[2][1]);
      }),
    );
  });

  it('parse to the members', () => {
    const object = fc.dictionary(fc.string(), fc.jsonValue());
    fc.assert(
      fc.property(object, fc.nat(4), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        for (const [name, member] of Object.entries(JSON.parse(text)))
          expect(JSON.parse(memberText(text, name) ?? '')).toEqual(member);
      }),
    );
  });

  it.each([
    ['{"a":{"data":1}}', undefined],
    ['{"a":"\\"data\\":1"}', undefined],
    ['{"a":"data","b":2}', undefined],
    ['{"\\u0064ata":1}', '1'],
    ['{"data":"\\\\"}', '"\\\\"'],
    ['{"data":"\\\\\\"}","data2":1}', '"\\\\\\"}"'],
    ['{"data":[{"}":"]"}]}', '[{"}":"]"}]'],
    ['{"data":-0.0e+1}', '-0.0e+1'],
    ['{}', undefined],
  ])('of data in %s are %j', (object, text) => expect(memberText(object, 'data')).toBe(text));

  it('are found at any depth without a stack', () => {
    const deep = `${'[{"a":'.repeat(100_000)}1${'}]'.repeat(100_000)}`;
    expect(memberText(`{"data":${deep}}`, 'data') === deep).toBe(true);
    expect([...elementTexts(`[${deep},2]`)][0] === deep).toBe(true);
  });
});
