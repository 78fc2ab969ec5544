/** Posts notifications over bare sockets to `to`: `{ host, port }`, or the `{ path }` of a Unix socket. */
import { connect } from 'node:net';

/** All publishers read into the same memory: each chunk is copied before the next one is read. */
const chunk = Buffer.allocUnsafeSlow(16 * 1024);

/** New connections come from these addresses in turn: one alone would run out of ports in a few seconds. */
const SOURCES = Array.from({ length: 64 }, (_, i) => `127.0.0.${i + 2}`);
let source = 0;

const ORDER = { order: 4711, total: '129.90', currency: 'EUR', paid: true };

/** A keep-alive connection. After each `post()` it calls `answered(publisher)`. One may post another request. */
export function openPublisher({ to, request, answered }) {
  const socket = dial({ to, answered: () => answered(publisher) });
  const lost = () => {
    throw new Error('the server closed a connection that publishes');
  };
  socket.once('close', lost);
  const publisher = {
    post: (other = request) => socket.write(other),
    close() {
      socket.off('close', lost);
      socket.destroy();
    },
  };
  return publisher;
}

/** The same, but each `post()` opens a new connection and closes it after the answer, as PHP-FPM does. */
export function openFreshPublisher({ to, request, answered }) {
  const publisher = {
    post() {
      const socket = dial({
        to: { ...to, localAddress: nextSource() },
        answered() {
          socket.destroy();
          answered(publisher);
        },
      });
      socket.write(request);
    },
    close() {},
  };
  return publisher;
}

/** @param fields others than these, such as `ack` */
export function notifyBody({ room, data = ORDER, ...fields }) {
  return JSON.stringify({ room, event: 'order.paid', data, ...fields });
}

export function notifyRequest({ key, ...notification }) {
  const body = notifyBody(notification);
  const head = [
    'POST /notify HTTP/1.1',
    'Host: 127.0.0.1',
    `Authorization: Bearer ${key}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    '\r\n',
  ];
  return Buffer.from(head.join('\r\n') + body);
}

function dial({ to, answered }) {
  let text = '';
  return connect({
    ...to,
    noDelay: true,
    onread: {
      buffer: chunk,
      callback(length) {
        text += chunk.latin1Slice(0, length);
        if (!isWhole(text)) return true;
        if (!text.startsWith('HTTP/1.1 200')) throw new Error(`publish refused: ${text}`);
        text = '';
        answered();
        return true;
      },
    },
  });
}

function nextSource() {
  source = (source + 1) % SOURCES.length;
  return SOURCES[source];
}

function isWhole(answer) {
  const end = answer.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const length = /^content-length: *(\d+)/im.exec(answer);
  if (!length) throw new Error(`an answer without Content-Length: ${answer}`);
  return answer.length >= end + 4 + Number(length[1]);
}
