import { expect, it } from '@jest/globals';
import { clientFrame, tcp, upgradeRequest } from '../clients/raw.js';
import { startPulse, startVictim, tell } from '../support/victim.js';

const PEERS = 50;
const RESERVED_OPCODE = 3;
// One turn of the event loop that takes longer is noticed by everybody.
const LATEST_MS = 100;
const GONE_WITHIN_MS = 5000;

it('peers that send on after they broke the protocol keep nobody waiting, and are dropped', async () => {
  const server = await startVictim();
  const pulse = await startPulse(server, 20);
  const began = performance.now();
  await Promise.all(
    Array.from({ length: PEERS }, async () => {
      const socket = await tcp(server.url);
      const closed = new Promise(resolve => socket.on('close', resolve));
      // It reads nothing, so it does not see that the server closes.
      socket.pause();
      socket.write(upgradeRequest('/ws'));
      socket.write(clientFrame('x', RESERVED_OPCODE));
      const junk = Buffer.alloc(64 * 1024);
      const sending = setInterval(() => {
        if (socket.writableLength < 4 * junk.length) socket.write(junk);
      }, 1);
      await closed;
      clearInterval(sending);
    }),
  );
  const took = performance.now() - began;
  const beats = (await pulse.stop()).map(beat => beat.took).sort((a, b) => a - b);
  const p99 = beats[Math.floor(beats.length * 0.99)] ?? 0;
  tell(`${PEERS} peers that send on after an error`, { 'gone after ms': took, 'live p99 ms': p99 });
  expect(took).toBeLessThan(GONE_WITHIN_MS);
  expect(p99).toBeLessThan(LATEST_MS);
}, 30_000);
