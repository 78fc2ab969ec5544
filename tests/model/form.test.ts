import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { formToJson } from '../../src/model/form.js';
import { Problem } from '../../src/model/problem.js';
import { jsonText } from '../support/json-text.js';

describe('a form as JSON', () => {
  it.each([
    ['', {}],
    ['room=a&event=e', { room: 'a', event: 'e' }],
    ['room=a+b%2B', { room: 'a b+' }],
    ['rooms=a', { rooms: ['a'] }],
    ['rooms=a&rooms=b', { rooms: ['a', 'b'] }],
    ['rooms[]=a&rooms%5B%5D=b', { rooms: ['a', 'b'] }],
    ['users[0]=1&users[1]=2', { users: ['1', '2'] }],
    ['connections[x]=1.1', { connections: ['1.1'] }],
    ['except=1.1', { except: ['1.1'] }],
    ['everyone=1', { everyone: true }],
    ['everyone=false', { everyone: false }],
    ['everyone=yes', { everyone: 'yes' }],
    ['ttl=60', { ttl: 60 }],
    ['ttl=-1', { ttl: '-1' }],
    ['ttl=0x10', { ttl: '0x10' }],
    ['user=42', { user: '42' }],
    ['data=[1', { data: '[1' }],
    ['foo=bar', { foo: 'bar' }],
    ['constructor=x', { constructor: 'x' }],
  ])('%s', (form, value) => expect(JSON.parse(formToJson(form))).toEqual(value));

  it('keeps __proto__ as a field like another', () => {
    expect(formToJson('__proto__=1')).toBe('{"__proto__":"1"}');
  });

  it('passes data on as it stands, where it is JSON', () => {
    fc.assert(
      fc.property(jsonText, data => {
        expect(formToJson(String(new URLSearchParams({ data })))).toBe(`{"data":${data}}`);
      }),
    );
  });

  it('says the same as JSON for whatever text a field holds', () => {
    const text = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(text, fc.array(text, { minLength: 1 }), (event, rooms) => {
        const form = new URLSearchParams({ event });
        for (const room of rooms) form.append('rooms[]', room);
        expect(JSON.parse(formToJson(String(form)))).toEqual({ event, rooms });
      }),
    );
  });

  it.each([
    ['room=a&room=b', ['room']],
    ['data=1&data=2', ['data']],
    ['event[]=e', ['event[]']],
    ['data[a][b]=1', ['data[a][b]']],
    ['room=a&room=b&key[x]=1', ['room', 'key[x]']],
  ])('is refused with the fields named: %s', (form, paths) => {
    let problem: unknown;
    try {
      formToJson(form);
    } catch (error) {
      problem = error;
    }
    if (!(problem instanceof Problem)) throw new Error('it was not refused');
    expect(problem.code).toBe('invalid_notification');
    expect(problem.faults.map(fault => fault.path)).toEqual(paths);
  });
});
