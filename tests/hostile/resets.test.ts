import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, it } from '@jest/globals';
import { clientFrame, upgradeRequest } from '../clients/raw.js';
import { untilReport } from '../support/health.js';
import { notifyHead } from '../support/raw.js';
import { startVictim } from '../support/victim.js';

const ROUNDS = 30;
const AT_ONCE = 20;

const BODY = '{"room":"public.a","event":"e"}';
const POST = `${notifyHead({ 'Content-Length': String(BODY.length) })}${BODY}`;
const GET = 'GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n';
const MANY_FRAMES = Buffer.concat(Array.from({ length: 200 }, () => clientFrame('{"type":"ping"}')));
const TUNNEL = 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n';

/** The bytes that a peer has sent when it resets its connection. */
const words: [string, string | Buffer][] = [
  ['nothing', ''],
  ['half a request', 'GET /health/live HTTP/1.1\r\nHost'],
  ['a request', GET],
  ['many requests', GET.repeat(50)],
  ['nonsense behind a request', `${POST}nonsense\r\n\r\n`],
  ['half a body', POST.slice(0, -5)],
  ['an upgrade', upgradeRequest('/ws?room=public.a')],
  ['an upgrade that is refused', upgradeRequest('/nowhere')],
  ['an upgrade with a bad key', upgradeRequest('/ws', { 'Sec-WebSocket-Key': 'x' })],
  ['an upgrade with a bad token', upgradeRequest('/ws?token=x')],
  ['an upgrade behind a request that is being answered', `${POST}${upgradeRequest('/ws')}`],
  ['a request for a tunnel behind a request that is being answered', `${POST}${TUNNEL}`],
  ['nonsense behind an upgrade', `${upgradeRequest('/ws')}nonsense`],
  ['many frames behind an upgrade', Buffer.concat([Buffer.from(upgradeRequest('/ws')), MANY_FRAMES])],
];

it.each(words)('a peer that resets its connection after %s ends nothing', async (_, bytes) => {
  const server = await startVictim({ JOURNAL: 'disk' });
  for (let round = 0; round < ROUNDS; round++)
    await Promise.all(Array.from({ length: AT_ONCE }, () => sayAndReset(server.port, bytes)));
  const { ok } = await fetch(`${server.url}/health/live`);
  expect(ok).toBe(true);
  // Those that are gone are forgotten, long before a heartbeat would miss them.
  await untilReport(server, ({ connections }) => connections === 0);
  expect(await server.stop('SIGTERM')).toBe(0);
});

async function sayAndReset(port: number, bytes: string | Buffer): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port });
  // The other side may close first.
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  const closed = once(socket, 'close');
  if (bytes.length === 0) socket.resetAndDestroy();
  else socket.write(bytes, () => socket.resetAndDestroy());
  await closed;
}
