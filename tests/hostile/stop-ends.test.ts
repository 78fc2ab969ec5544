import { describe, expect, it } from '@jest/globals';
import { OPCODE, RawClient, rawConnect, tcp, upgradeRequest } from '../clients/raw.js';
import type { ServerProcess } from '../support/process.js';
import { notifyHead } from '../support/raw.js';
import { deafPeer, fullPeer, publishAll, startVictim, tell } from '../support/victim.js';

// A drain of 1 s, 2 s for the answer to a close, 2 s for a request to arrive, and as much again for everything else.
const ENDS_WITHIN_MS = 10_000;
const settings = { DRAIN_SECONDS: '1', REQUEST_TIMEOUT_SECONDS: '2' };

const GET = 'GET /client.js HTTP/1.1\r\nHost: x\r\n\r\n';

/** Actions of a peer. The action is done when this resolves. */
const peers: [string, (server: ServerProcess) => Promise<unknown>][] = [
  [
    'an upgrade that is refused, behind answers that nobody reads',
    server => fullPeersSay(server, upgradeRequest('/nowhere')),
  ],
  [
    'a request for a tunnel, behind answers that nobody reads',
    server => fullPeersSay(server, 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n'),
  ],
  ['nonsense, behind answers that nobody reads', server => fullPeersSay(server, 'nonsense\r\n\r\n')],
  [
    'half a request',
    async server => {
      await deafPeer(server, 'GET /health/live HTTP/1.1\r\nHost');
    },
  ],
  [
    'half a body',
    async server => {
      await deafPeer(server, `${notifyHead({ 'Content-Length': '100' })}{"room":"public.a",`);
    },
  ],
  [
    'a WebSocket that never answers the close',
    async server => {
      const client = await rawConnect(server.url, '/ws?room=public.a');
      client.stubborn = true;
      await client.nextOf(OPCODE.text);
    },
  ],
  [
    'a WebSocket that does not read',
    async server => {
      const socket = await tcp(server.url);
      socket.write(upgradeRequest('/ws?room=public.full'));
      const client = new RawClient(socket);
      await client.nextOf(OPCODE.text);
      socket.pause();
      // More than the system takes and the server holds for it.
      const data = 'x'.repeat(8_000);
      await publishAll(
        server,
        Array.from({ length: 4000 }, () => ({ room: 'public.full', event: 'e', data })),
      );
    },
  ],
];

describe('SIGTERM ends the process', () => {
  it.each(peers)('beside %s', async (what, attack) => ends(what, [attack]), 25_000);

  it('beside all of them together', async () => {
    const all = peers.map(([, attack]) => attack);
    await ends('all of them', all);
  }, 40_000);
});

async function ends(what: string, attacks: readonly ((server: ServerProcess) => Promise<unknown>)[]) {
  const server = await startVictim(settings);
  for (const attack of attacks) await attack(server);
  // When this is answered, the server has got everything that was written before.
  await (await fetch(`${server.url}/health/live`)).text();
  const began = performance.now();
  let deadline: NodeJS.Timeout | undefined;
  const tooLate = new Promise<string>(resolve => {
    deadline = setTimeout(() => resolve('still running'), ENDS_WITHIN_MS);
  });
  const code = await Promise.race([server.stop('SIGTERM'), tooLate]);
  clearTimeout(deadline);
  tell(`SIGTERM beside ${what}`, { ms: performance.now() - began, code: String(code) });
  expect(code).toBe(0);
}

/** Three peers: if one is held up by an answer too many, the server does not read it any more, and it does no harm. */
async function fullPeersSay(server: ServerProcess, bytes: string): Promise<void> {
  const { length } = await (await fetch(`${server.url}/client.js`)).text();
  const full = await Promise.all([1, 2, 3].map(() => fullPeer(server, GET, length)));
  for (const socket of full) socket.write(bytes);
}
