import type { Peer, Wire } from '../../src/core/connection.js';
import { systemAfter, systemClock } from '../../src/model/clock.js';
import { MemoryStores } from '../../src/storage/memory.js';
import { Patterns } from '../../src/model/pattern.js';

/** Options of a core without presence rooms. */
export const PLAIN = {
  presence: { rooms: new Patterns([]), graceMs: 0, maxMembers: 1000 },
  clock: systemClock,
  after: systemAfter,
  get stores() {
    return new MemoryStores();
  },
};

export const PEER: Peer = { address: '192.0.2.1', userAgent: 'a test' };

/** A wire for tests in which no room is assigned, and which have no presence rooms. */
export function wireOf(protocol: string, notification: Wire['notification']): Wire {
  const notUsed = () => {
    throw new Error('not used here');
  };
  return { protocol, notification, subscribed: notUsed, unsubscribed: notUsed, members: notUsed };
}
