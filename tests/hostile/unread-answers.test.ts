import { describe, expect, it } from '@jest/globals';
import { comesToBe, connectionsOf, startVictim, tell } from '../support/victim.js';
import { askedAndNotRead } from './unread.js';

// REQUEST_TIMEOUT_SECONDS is 10. A peer that takes nothing for more than three times that is not slow, it is deaf.
const CLOSED_WITHIN_MS = 40_000;

describe('forty peers that ask for the browser client again and again, and never read it', () => {
  it('hold little, keep nobody waiting, and are closed', async () => {
    const server = await startVictim();
    const { began, connections } = await askedAndNotRead(
      server,
      'GET /client.js HTTP/1.1\r\nHost: x\r\n\r\n',
    );
    const left = CLOSED_WITHIN_MS - (Date.now() - began);
    const isClosed = await comesToBe(() => connectionsOf(server) <= connections, left);
    tell('unread answers, closed', { ms: Date.now() - began, isClosed });
    expect(isClosed).toBe(true);
  }, 80_000);
});
