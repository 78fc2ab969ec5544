/** A WebSocket client that talks, on a bare TCP socket: the load side must cost almost nothing. */
import { connect } from 'node:net';

const TEXT = 0x1;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;
const UPGRADE_HEADERS = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];

/** All clients read into the same memory: each chunk is finished before the next one is read. */
const chunk = Buffer.allocUnsafeSlow(256 * 1024);

/**
 * Connects to `path`, and resolves to a client when `took` says so. `took(client, bytes, start, end)` is called for each
 * text frame, in memory that will be used again; it returns true for the frame that says that the client is served.
 */
export function openClient({ port, path, took }) {
  return new Promise((resolve, reject) => {
    let upgraded = false;
    let rest = Buffer.alloc(0); // the beginning of a frame that the last chunk broke off
    const client = {
      send: frame => socket.write(frame),
      close() {
        socket.off('close', lost);
        socket.destroy();
      },
    };
    const lost = () => {
      throw new Error('the server closed a client');
    };
    const socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: chunk,
        callback(length) {
          let bytes = chunk.subarray(0, length);
          if (rest.length > 0) bytes = Buffer.concat([rest, bytes]);
          const read = upgraded ? readFrames(bytes, 0) : readHead(bytes);
          rest = read < bytes.length ? Buffer.from(bytes.subarray(read)) : rest.subarray(rest.length);
          return true;
        },
      },
    });
    socket.write(
      [`GET ${path} HTTP/1.1`, `Host: 127.0.0.1:${port}`, ...UPGRADE_HEADERS, '\r\n'].join('\r\n'),
    );
    socket.once('error', reject);
    socket.once('close', lost);

    function readHead(bytes) {
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return 0;
      const head = bytes.toString('latin1', 0, end);
      if (!head.startsWith('HTTP/1.1 101')) throw new Error(`upgrade refused: ${head}`);
      upgraded = true;
      return readFrames(bytes, end + 4);
    }

    /** Returns where the first frame begins that is not whole (RFC 6455 §5.2). */
    function readFrames(bytes, start) {
      for (let at = start; ; ) {
        if (at + 4 > bytes.length && at + 2 + (bytes[at + 1] ?? 2) > bytes.length) return at;
        const short = bytes[at + 1];
        const payload = at + (short < 126 ? 2 : 4);
        const end = payload + (short < 126 ? short : bytes.readUInt16BE(at + 2)); // none is of 64 KiB here
        if (end > bytes.length) return at;
        const opcode = bytes[at] & 0x0f;
        if (opcode === TEXT && took(client, bytes, payload, end)) resolve(client);
        if (opcode === PING) socket.write(frameOf('', PONG));
        if (opcode === CLOSE) throw new Error('the server closed a client');
        at = end;
      }
    }
  });
}

/** A whole frame of at most 64 KiB, masked with zeros: clients must mask (RFC 6455 §5.3), with any key. */
export function frameOf(text, opcode = TEXT) {
  const length = Buffer.byteLength(text);
  const header = length < 126 ? 6 : 8;
  const frame = Buffer.alloc(header + length);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | Math.min(length, 126);
  if (length >= 126) frame.writeUInt16BE(length, 2);
  frame.write(text, header);
  return frame;
}
