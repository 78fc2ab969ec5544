/** A WebSocket client that counts notifications, on a bare TCP socket: the load side must cost almost nothing. */
import { connect } from 'node:net';
import { FrameReader, HEADROOM, Kind } from './frames.js';

/** Pong with an empty payload, masked with zeros: clients must mask (RFC 6455 §5.3), with any key. */
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0]);

/** All listeners read into the same memory: each chunk is finished before the next one is read. */
const memory = Buffer.allocUnsafeSlow(HEADROOM + 256 * 1024);
const chunk = memory.subarray(HEADROOM);

/**
 * Connects to `path` and waits until the server serves it: until the answer to the upgrade, or (`joined`: 'subscribed')
 * until a frame says so. After that, `heard(listener, count)` is called for notifications. If `took(listener, bytes)`
 * is given, it gets all frames as they come, in memory that will be used again.
 */
export function listen({ port, path, joined, heard, took }) {
  return new Promise((resolve, reject) => {
    const listener = {
      received: 0,
      get frames() {
        return reader.frames;
      },
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      leave() {
        socket.off('close', lost);
        socket.destroy();
      },
    };
    const lost = () => {
      throw new Error('the server closed a listener');
    };
    let head = '';
    let upgraded = false;
    const reader = new FrameReader(kind => {
      if (kind === Kind.subscribed) resolve(listener);
      if (kind === Kind.ping) socket.write(PONG);
      if (kind === Kind.close) reject(new Error('the server closed a listener'));
    });

    const socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: chunk,
        callback(length) {
          const start = HEADROOM + (upgraded ? 0 : readHead(length));
          took?.(listener, memory.subarray(start, HEADROOM + length));
          const count = reader.read(memory, start, HEADROOM + length);
          if (count > 0) heard(listener, count);
          return true;
        },
      },
    });
    socket.write(upgradeRequest(port, path));
    socket.once('error', reject);
    socket.once('close', lost);

    /** Reads the next part of the answer to the upgrade. Returns how many bytes of this chunk belong to it. */
    function readHead(length) {
      const before = head.length;
      head += chunk.latin1Slice(0, length);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return length;
      if (!head.startsWith('HTTP/1.1 101')) throw new Error(`upgrade refused: ${head}`);
      upgraded = true;
      if (joined === 'upgrade') resolve(listener);
      return end + 4 - before;
    }
  });
}

function upgradeRequest(port, path) {
  return [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    '\r\n',
  ].join('\r\n');
}
