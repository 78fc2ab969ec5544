import { describe, expect, it } from '@jest/globals';
import { subscribedFrame, wire } from '../../src/clients/postroom/wire.js';

/** The payload of one unmasked frame of text that is all of these bytes (RFC 6455 §5.2). */
function payloadOf(frame: Buffer): unknown {
  expect(frame[0]).toBe(0x81);
  const short = frame[1] ?? 0;
  const start = short < 126 ? 2 : short === 126 ? 4 : 10;
  const length =
    short < 126 ? short : short === 126 ? frame.readUInt16BE(2) : Number(frame.readBigUInt64BE(2));
  expect(frame.length).toBe(start + length);
  return JSON.parse(frame.toString('utf8', start));
}

describe('the list of the members', () => {
  const start = { id: '1-0' as const, recovered: undefined };
  const self = { user: 'Zoë "Z"', info: '{"n":1}' };
  const shown = { user: 'Zoë "Z"', info: { n: 1 } };

  it.each([0, 1, 3, 50, 2000, 3000])('of %i is one frame of JSON, with oneself and without', count => {
    const told = Array.from({ length: count }, (_, n) => ({ user: `u${n} 李`, info: undefined }));
    const others = told.map(({ user }) => ({ user, info: null }));
    for (const [list, members] of [
      [{ told, self: undefined }, others],
      [{ told, self }, [...others, shown]],
    ] as const) {
      const about = { room: 'presence.1', members };
      expect(payloadOf(subscribedFrame('presence.1', start, list, 7))).toEqual({
        type: 'subscribed',
        id: '1-0',
        ref: 7,
        ...about,
      });
      expect(payloadOf(wire.members('presence.1', { type: 'members', list }))).toEqual({
        type: 'members',
        ...about,
      });
    }
  });
});
