/**
 * The program of strangers.js: each kind of attack again and again, one of a kind at a time, until it is stopped. The
 * server comes and goes meanwhile. An attack that the server cuts off is not counted.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import jwt from 'jsonwebtoken';
import { WebSocket } from 'ws';
import { ROOMS, roomName } from './plan.js';
import { JWT_SECRET } from './server.js';

const PAUSE_MS = [200, 1_000]; // between two attacks of a kind
const LIMIT_MS = 40_000; // for an attack that the server does not end
const ROUND_BYTES = 64 * 1024;
const GET = 'GET /client.js HTTP/1.1\r\nHost: x\r\n\r\n';
const port = Number(process.argv[2]);
const rooms = Array.from({ length: 100 }, (_, number) =>
  number < ROOMS ? roomName(number) : `public.other.${number}`,
);

/** Each takes a function that opens a connection. The connection is closed when the attack is over. */
const attacks = {
  'unread answers': async open => {
    await times(20, () => deaf(open, GET.repeat(ROUND_BYTES / GET.length)));
    await sleep(3_000);
  },
  'idle connections': async open => {
    const sockets = await times(100, number => deaf(open, number % 2 === 0 ? '' : 'GET / HTTP/1.1\r\nHost'));
    for (let second = 0; second < 5; second++) {
      for (const socket of sockets) if (socket.bytesWritten > 0) socket.write('x');
      await sleep(1_000);
    }
  },
  'large past': async open => {
    const { id } = await nextOf(await webSocket(open, ''), 'welcome');
    await sleep(10_000);
    await times(10, async () => {
      const socket = await webSocket(open, `?since=${id}&rooms=${rooms.join()}`);
      const welcome = await nextOf(socket, 'welcome');
      // If the past is gone, nothing comes. Otherwise the rest of it is dropped half way.
      if (welcome.recovered) await nextOf(socket, 'notification');
    });
  },
  'never closing': async open => {
    // At one of these, the system has no more room for the answers.
    const full = await times(4, () => deaf(open, ''));
    const many = full.map(() => 590 + Math.floor(Math.random() * 100));
    for (let asked = 0; asked < Math.max(...many); asked++) {
      for (const [index, socket] of full.entries()) if (asked < many[index]) socket.write(GET);
      await sleep(2);
    }
    for (const socket of full) socket.write(upgradeTo('/nowhere'));
    await deaf(open, 'GET /health/live HTTP/1.1\r\nHost');
    await times(4, () => deaf(open, upgradeTo(`/ws?rooms=${rooms.slice(0, ROOMS).join()}`)));
    await sleep(10_000);
  },
  toggling: async open => {
    const socket = await webSocket(open, '');
    const { id } = await nextOf(socket, 'welcome');
    const room = roomName(0);
    for (let toggle = 0; toggle < 2_000; toggle++) {
      socket.send(JSON.stringify({ type: 'subscribe', room }));
      await nextOf(socket, 'subscribed');
      socket.send(JSON.stringify({ type: 'unsubscribe', room }));
      await nextOf(socket, 'unsubscribed');
    }
    socket.send(JSON.stringify({ type: 'subscribe', room, since: id }));
    await nextOf(socket, 'subscribed');
  },
  'hard patterns': async open => {
    const patterns = Array.from({ length: 60 }, (_, number) => `*${'a'.repeat(100)}${number}`);
    const token = jwt.sign({ rooms: patterns }, JWT_SECRET, { expiresIn: 60 });
    await times(5, async () => {
      const socket = await webSocket(open, `?token=${token}`);
      for (let asked = 0; asked < 19; asked++) {
        socket.send(JSON.stringify({ type: 'subscribe', room: 'a'.repeat(200) }));
        await nextOf(socket, 'error');
      }
    });
  },
  'forbidden rooms': async open => {
    const names = Array.from({ length: 3_000 }, (_, number) => `r${number.toString(36)}`);
    await times(5, async () => {
      const socket = await webSocket(open, `?rooms=${names.join()}`);
      await nextOf(socket, 'error');
    });
  },
};

const counts = Object.fromEntries(Object.keys(attacks).map(kind => [kind, 0]));
for (const [kind, attack] of Object.entries(attacks)) void repeat(kind, attack);
setInterval(() => process.send(counts), 1_000);
process.once('message', () => process.send(counts, () => process.exit(0)));
process.once('disconnect', () => process.exit(0));

async function repeat(kind, attack) {
  for (;;) {
    const opened = new Set();
    const open = socket => {
      opened.add(socket);
      return socket.on('error', () => undefined);
    };
    const tooLong = sleep(LIMIT_MS).then(() => true);
    // An attack that fails was cut off by a restart, or the server refused it, as it should.
    const isMade = await Promise.race([
      attack(open).then(
        () => true,
        () => false,
      ),
      tooLong,
    ]);
    if (isMade) counts[kind]++;
    for (const socket of opened) (socket.terminate ?? socket.destroy).call(socket);
    const [least, most] = PAUSE_MS;
    await sleep(least + Math.random() * (most - least));
  }
}

/** A connection that writes and never reads. */
async function deaf(open, bytes) {
  const socket = open(connect(port, '127.0.0.1'));
  socket.pause();
  await once(socket, 'connect');
  if (bytes !== '') socket.write(bytes);
  return socket;
}

async function webSocket(open, query) {
  const socket = open(new WebSocket(`ws://127.0.0.1:${port}/ws${query}`));
  socket.frames = frames(socket);
  await once(socket, 'open');
  return socket;
}

async function nextOf(socket, type) {
  for (;;) {
    const frame = await socket.frames.next();
    if (frame.type === type) return frame;
  }
}

/** The frames one after the other. Rejects if the connection ends before the next. */
function frames(socket) {
  const known = [];
  let wake = () => {};
  socket.on('message', data => {
    known.push(JSON.parse(String(data)));
    wake();
  });
  socket.on('close', () => wake());
  return {
    async next() {
      while (known.length === 0) {
        if (socket.readyState === WebSocket.CLOSED) throw new Error('closed');
        await new Promise(resolve => {
          wake = resolve;
        });
      }
      return known.shift();
    },
  };
}

function upgradeTo(path) {
  const key = randomBytes(16).toString('base64');
  return `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`;
}

function times(count, act) {
  return Promise.all(Array.from({ length: count }, (_, number) => act(number)));
}
