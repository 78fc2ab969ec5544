import { describe, expect, it } from '@jest/globals';
import { Patterns } from '../../src/model/pattern.js';
import { ANONYMOUS, type Identity, mayJoin } from '../../src/auth/identity.js';

const PUBLIC = new Patterns(['public.*', 'news']);

function allowed(...rooms: string[]): Identity {
  return {
    user: '42',
    info: undefined,
    issuedAt: undefined,
    rooms: new Patterns(rooms),
    publish: new Patterns([]),
    expires: 2_000_000_000,
  };
}

describe('who may join what', () => {
  it.each<[string, Identity, string, boolean]>([
    ['nobody a public room', ANONYMOUS, 'public.demo', true],
    ['nobody a public room by its whole name', ANONYMOUS, 'news', true],
    ['nobody another room', ANONYMOUS, 'orders', false],
    ['nobody what only looks public', ANONYMOUS, 'notpublic.demo', false],
    ['a token what it names', allowed('orders'), 'orders', true],
    ['a token one of several', allowed('a', 'orders.*'), 'orders.1', true],
    ['a token nothing beside', allowed('orders'), 'orders.1', false],
    ['a token everything under *', allowed('*'), 'whatever/房间', true],
    ['a token without rooms no room', allowed(), 'orders', false],
    ['a token public rooms too', allowed(), 'public.demo', true],
    ['a token what differs in case', allowed('Orders'), 'orders', false],
    ['a token a room called like the user', allowed(), '42', false],
  ])('%s', (_what, identity, room, may) => expect(mayJoin(identity, PUBLIC, room)).toBe(may));

  it('nobody anything where no room is public', () => {
    expect(mayJoin(ANONYMOUS, new Patterns([]), 'public.demo')).toBe(false);
  });
});
