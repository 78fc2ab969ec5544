/**
 * What do calls to PHP cost? Real php-fpm with ten workers behind nginx, on the load's core. In the baseline's place: the
 * same requests by HTTP, straight to nginx, which is all that PHP can do.
 */
import { createHmac, createSecretKey } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { JWT_SECRET } from './harness.js';
import { SECRET, WORKERS } from './php-fpm.js';

const SERVERS = { baseline: 'calls', postroom: 'calls' };
const TIMES = { warm: 1, seconds: 2 };
const MAX_CALLS = 20;
const OFFERED = 400;
const SLOW_MS = 50;
const FAST = 'calls to php-fpm, beside HTTP to it';
const SLOW = `calls to php-fpm of ${SLOW_MS} ms, ${OFFERED} a second for ${WORKERS} workers, MAX_CALLS=${MAX_CALLS}, beside HTTP`;

export default {
  single: {
    servers: SERVERS,
    rows: {
      p50: { label: `${FAST}, one at a time: p50 ms` },
      p99: { label: `${FAST}, one at a time: p99 ms` },
    },
    async measure(load, _server, side) {
      const usage = await load.ask('call', { ...asking(side, '/call.php', 1), ...TIMES });
      return { figures: { p50: usage.p50, p99: usage.p99 }, usages: [usage] };
    },
  },

  many: {
    servers: SERVERS,
    rows: {
      rate: { label: `${FAST}, 64 in flight: calls/s` },
      p50: { label: `${FAST}, 64 in flight: p50 ms` },
      p99: { label: `${FAST}, 64 in flight: p99 ms` },
      cpu: { label: `${FAST}, 64 in flight: CPU of Postroom, µs a call` },
      php: { label: `${FAST}, 64 in flight: CPU of nginx and PHP, µs a call` },
    },
    async measure(load, _server, side) {
      const usage = await load.ask('call', { ...asking(side, '/call.php', 64), ...TIMES });
      const { calls, seconds, p50, p99, serverMicros, brokerMicros } = usage;
      const cpu = side === 'postroom' ? serverMicros / calls : 0;
      return {
        figures: { rate: calls / seconds, p50, p99, cpu, php: brokerMicros / calls },
        usages: [usage],
      };
    },
  },

  // Twice as many as PHP can answer.
  busy: {
    servers: SERVERS,
    settings: address => ({ CALL_URL: `${new URL('/slow.php', address)}`, MAX_CALLS: `${MAX_CALLS}` }),
    rows: {
      rate: { label: `${SLOW}: answered/s` },
      p50: { label: `${SLOW}: answered, p50 ms` },
      p99: { label: `${SLOW}: answered, p99 ms` },
      refusals: { label: `${SLOW}: call_busy/s` },
      refusedP50: { label: `${SLOW}: call_busy, p50 ms` },
      refusedP99: { label: `${SLOW}: call_busy, p99 ms` },
      most: { label: `${SLOW}: most requests that nginx had at a time` },
    },
    async measure(load, _server, side) {
      const usage = await load.ask('call', {
        ...asking(side, '/slow.php', 200),
        rate: OFFERED,
        statusOf: '/status',
        ...TIMES,
      });
      const { calls, refusals, seconds, p50, p99, refused, most } = usage;
      const figures = {
        rate: calls / seconds,
        p50,
        p99,
        refusals: refusals / seconds,
        refusedP50: refused.p50 ?? 0,
        refusedP99: refused.p99 ?? 0,
        most,
      };
      return { figures, usages: [usage] };
    },
  },
};

function asking(side, path, connections) {
  if (side === 'baseline') return { through: 'http', connections, request: requestTo(path) };
  const secret = createSecretKey(JWT_SECRET, 'utf8');
  const tokens = Array.from({ length: connections }, (_, n) =>
    jwt.sign({ sub: `u${n}`, rooms: [] }, secret, { expiresIn: '1h' }),
  );
  return { through: 'postroom', connections, tokens };
}

/** As Postroom sends it. */
function requestTo(path) {
  const body = '{"event":"ping","data":{"text":"Hello"},"connection":"48213907.9081726354","user":"u1"}';
  const id = 'call_f6b6a2f4-6d6e-4f0c-8f3c-0d8a5d9a7c11';
  const seconds = Math.floor(Date.now() / 1000);
  const key = Buffer.from(SECRET.slice('whsec_'.length), 'base64');
  const signature = createHmac('sha256', key).update(`${id}.${seconds}.${body}`).digest('base64');
  return (
    [
      `POST ${path} HTTP/1.1`,
      'Host: 127.0.0.1',
      'Content-Type: application/json',
      'Accept: application/json',
      'User-Agent: Postroom/bench',
      `Webhook-Id: ${id}`,
      `Webhook-Timestamp: ${seconds}`,
      `Webhook-Signature: v1,${signature}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      '\r\n',
    ].join('\r\n') + body
  );
}
