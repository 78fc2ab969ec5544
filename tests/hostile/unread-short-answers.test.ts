import { describe, it } from '@jest/globals';
import { startVictim } from '../support/victim.js';
import { askedAndNotRead } from './unread.js';

// All their answers fit into the system's own buffers: the server cannot know whether they read.
describe('forty peers that ask for what is short, and never read it', () => {
  it.each([
    ['a minimal GET', 'GET / HTTP/1.1\r\nHost:x\r\n\r\n'],
    ['HEAD', 'HEAD /health/live HTTP/1.1\r\nHost: x\r\n\r\n'],
  ])(
    'hold little and keep nobody waiting: %s',
    async (_, request) => {
      await askedAndNotRead(await startVictim(), request);
    },
    60_000,
  );
});
