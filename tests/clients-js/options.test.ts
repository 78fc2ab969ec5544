import { describe, expect, it } from '@jest/globals';
import { type Options, postroom } from '../../clients/js/src/postroom.js';
import { FakeSocket } from './fakes.js';

/** Options that a page without types may give. */
function open(options: object): void {
  postroom('ws://server/ws', { WebSocket: FakeSocket, ...(options as Options) }).close();
}

describe('options', () => {
  it.each([
    [{ token: 'a.b.c' }, 'token must be a function that returns the token'],
    [{ token: '' }, 'token must be a function that returns the token'],
    [{ token: { jwt: 'a.b.c' } }, 'token must be a function that returns the token'],
    [{ rooms: 'orders' }, 'rooms must be a list of names'],
    [
      { tokens: () => 'a.b.c' },
      'There is no option tokens. There are token, rooms, since, acknowledge, WebSocket.',
    ],
    [
      { rooms: ['a'], toString: 1 },
      'There is no option toString. There are token, rooms, since, acknowledge, WebSocket.',
    ],
  ])('%j are refused at once', (options, message) => {
    expect(() => open(options)).toThrow(new TypeError(message));
  });

  it.each([
    [{}],
    [{ token: undefined, rooms: undefined, since: undefined, clock: undefined }],
    [{ token: null, rooms: null, since: null }],
  ])('%j are taken', options => {
    expect(() => open(options)).not.toThrow();
  });

  it('that are refused leave no listener behind', () => {
    const heard: string[] = [];
    const window = { addEventListener: (type: string) => heard.push(type) };
    expect(() => open({ token: 'a.b.c', window })).toThrow(TypeError);
    expect(heard).toEqual([]);
  });
});
