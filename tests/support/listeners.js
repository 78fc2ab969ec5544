/**
 * Many who listen to one room, in a process of their own: bare sockets, so that it carries thousands. The first few
 * read what they are sent; the others count its bytes, which must be as many.
 */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

const [port, count, room] = process.argv.slice(2);
const READING = 5;
// So many at once: what a server's queue of new connections takes anywhere.
const AT_ONCE = 100;
// A ping without payload, the first byte of which is in no other frame here: who is pinged, and when, is chance.
const PING = Buffer.from([0x89, 0]);
const PINGS = PING.toString('latin1');

const listeners = [];
const opening = Array.from({ length: AT_ONCE }, async () => {
  while (listeners.length < Number(count)) await open();
});
await Promise.all(opening);
process.send('in');

process.on('message', async ({ last }) => {
  const [first, ...others] = listeners.slice(0, READING);
  await until(() => first.text.includes(`"id":"${last}"`) && first.text.endsWith('}'));
  const { received } = first;
  await until(() => listeners.every(listener => listener.received >= received || listener.closed));
  process.send({
    ids: [...first.text.matchAll(/"notification","id":"([^"]+)"/g)].map(([, id]) => id),
    alike:
      others.every(({ text }) => text === first.text) &&
      listeners.every(listener => listener.received === received),
    closed: listeners.filter(({ closed }) => closed).length,
  });
});
process.once('disconnect', () => process.exit());

function open() {
  const listener = { received: 0, text: '', closed: false };
  const isReading = listeners.push(listener) <= READING;
  const socket = connect(Number(port), '127.0.0.1');
  socket.write(
    `GET /ws?room=${room} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
  );
  return new Promise((resolve, reject) => {
    let head = '';
    socket.on('error', reject).on('close', () => {
      listener.closed = true;
      reject(new Error(`closed after: ${head}`));
    });
    socket.on('data', function takeHead(chunk) {
      head += chunk.toString('latin1');
      // The welcome differs from one to the other; what follows `subscribed` does not.
      if (!/"subscribed"[^}]*}$/.test(head)) return;
      socket.off('data', takeHead);
      socket.on('data', bytes => {
        const text = bytes.includes(PING[0]) ? bytes.toString('latin1').replaceAll(PINGS, '') : undefined;
        listener.received += text?.length ?? bytes.length;
        if (isReading) listener.text += text ?? bytes.toString('latin1');
      });
      resolve();
    });
  });
}

async function until(isSo) {
  while (!isSo()) await new Promise(resolve => setTimeout(resolve, 10));
}
