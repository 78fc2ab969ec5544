/**
 * What does a typing indicator cost? Clients publish to the others in their room: as many as the server takes, and so
 * many a second. Beside it Socket.IO, which forwards the same messages and answers each of them, as Postroom does.
 */
import { createSecretKey } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { JWT_SECRET, KEY } from './harness.js';
import { socketIoVersion } from './socket-io-version.js';

const MEMBERS = 400;
const WINDOW = 64;
const RATES = { 2: 1_000, 10: 500, 50: 150 };
const TIMES = { warm: 0.7, seconds: 1.5 };
const SOCKET_IO = `Socket.IO ${socketIoVersion}`;

export default {
  memory: question(`memory journal, beside ${SOCKET_IO}`, { baseline: 'socket-io', postroom: 'talk' }),
  disk: question(`disk journal, beside ${SOCKET_IO}`, { baseline: 'socket-io', postroom: 'talk-disk' }),
  webhooks: question('disk journal, each message to a webhook too, beside none', {
    baseline: 'talk-disk',
    postroom: 'talk-webhooks',
  }),
  // As Socket.IO is used for this: nobody waits for an answer.
  unanswered: question(
    `memory journal, beside ${SOCKET_IO} that does not answer`,
    { baseline: 'socket-io', postroom: 'talk' },
    'socket.io-unanswered',
  ),
};

function question(what, servers, socketIoDialect = 'socket.io') {
  return {
    servers,
    rows: {
      ...Object.assign({}, ...Object.keys(RATES).map(size => rowsOf(size, what))),
      ...(servers.postroom === 'talk-webhooks' && {
        waiting: { label: `typing, ${what}: webhook events that wait at the end` },
      }),
    },
    async measure(load, { name, port }) {
      const dialect = name === 'socket-io' ? socketIoDialect : 'postroom';
      const figures = {};
      const usages = [];
      for (const [size, rate] of Object.entries(RATES)) {
        const rooms = roomsOf(Number(size));
        const { flood, stream } = await load.ask('talk', { dialect, rooms, window: WINDOW, rate, ...TIMES });
        Object.assign(figures, {
          [`rate/${size}`]: flood.messages / flood.seconds,
          [`cpu/${size}`]: flood.serverMicros / flood.messages,
          [`calm/${size}`]: stream.serverMicros / stream.messages,
          [`p50/${size}`]: stream.p50,
          [`p99/${size}`]: stream.p99,
        });
        usages.push(flood, stream);
      }
      if (servers.postroom === 'talk-webhooks') figures.waiting = await webhooksWaiting(port, name);
      return { figures, usages };
    },
  };
}

/** How far the webhooks are behind the clients. */
async function webhooksWaiting(port, name) {
  if (name !== 'talk-webhooks') return 0;
  const headers = { Authorization: `Bearer ${KEY}` };
  const health = await fetch(`http://127.0.0.1:${port}/health`, { headers });
  const { webhooks } = await health.json();
  return webhooks.waiting;
}

function rowsOf(size, what) {
  const room = `typing in rooms of ${size}, ${what}`;
  const calm = `${room}, ${RATES[size]} messages/s`;
  return {
    [`rate/${size}`]: { label: `${room}, ${WINDOW} in flight: messages/s` },
    [`cpu/${size}`]: { label: `${room}, ${WINDOW} in flight: server CPU, µs a message` },
    [`calm/${size}`]: { label: `${calm}: server CPU, µs a message` },
    [`p50/${size}`]: { label: `${calm}: to another member, p50 ms` },
    [`p99/${size}`]: { label: `${calm}: to another member, p99 ms` },
  };
}

function roomsOf(size) {
  const secret = createSecretKey(JWT_SECRET, 'utf8');
  return Array.from({ length: MEMBERS / size }, (_, n) => {
    const room = `chat.${n}`;
    const tokens = Array.from({ length: size }, (_, m) =>
      jwt.sign({ sub: `${n}-${m}`, rooms: [room], publish: [room] }, secret, { expiresIn: '1h' }),
    );
    return { room, tokens };
  });
}
