import { describe, expect, it } from '@jest/globals';
import { callerAddress } from '../../src/model/network-address.js';

const PEER = '10.0.0.1';

describe("the caller's address", () => {
  it.each([
    ['the peer without proxies', PEER, 'forged', 0, PEER],
    ['the peer where the header is missing', PEER, undefined, 1, PEER],
    ['the peer where the header is empty', PEER, '', 1, PEER],
    ['the peer where the last entry is empty', PEER, '1.1.1.1, ', 1, PEER],
    ['what the only proxy saw', PEER, '1.1.1.1', 1, '1.1.1.1'],
    ['what the only proxy saw, not what it was told', PEER, 'forged, 1.1.1.1', 1, '1.1.1.1'],
    ['what the first of two proxies saw', PEER, 'forged, 1.1.1.1, 10.0.0.2', 2, '1.1.1.1'],
    ['what is left where there are fewer entries than proxies', PEER, '1.1.1.1', 2, '1.1.1.1'],
    ['an IPv6 address', PEER, 'forged,2001:db8::1', 1, '2001:db8::1'],
    ['a word for a peer that is gone', undefined, undefined, 0, 'unknown'],
  ])('is %s', (_what, remote, forwardedFor, proxies, address) =>
    expect(callerAddress(remote, forwardedFor, proxies)).toBe(address),
  );
});
