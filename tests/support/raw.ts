import { connect } from 'node:net';
import { KEY } from './server.js';

/** One HTTP answer, as it came over the network. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The parsed body, if the answer was JSON. */
  readonly body: Record<string, unknown>;
}

/** A network socket to a server, for things that an HTTP client would never send. */
export interface RawClient {
  send(bytes: string | Buffer): void;
  /** Closes the socket at once. */
  destroy(): void;
  /** The next answer; waits for it. Rejects if the server closes first. */
  answer(): Promise<RawAnswer>;
  /** Resolves when the server has closed, to everything it sent after the answers that were taken. */
  readonly closed: Promise<string>;
}

/** Opens a socket for as long as `use` takes. */
export async function withSocket<T>(url: string, use: (client: RawClient) => Promise<T>): Promise<T> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let received = Buffer.alloc(0);
  let closedYet = false;
  let wake = () => {};
  socket.on('data', chunk => {
    received = Buffer.concat([received, chunk]);
    wake();
  });
  // A close follows.
  socket.on('error', () => undefined);
  const closed = new Promise<string>(resolve => {
    socket.on('close', () => {
      closedYet = true;
      wake();
      resolve(String(received));
    });
  });
  const answer = async () => {
    for (;;) {
      const found = parseAnswer(received);
      if (found !== undefined) {
        received = received.subarray(found.length);
        return found.answer;
      }
      if (closedYet) throw new Error(`closed before an answer, with: ${received}`);
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    }
  };
  try {
    return await use({
      send: bytes => void socket.write(bytes),
      destroy: () => void socket.destroy(),
      answer,
      closed,
    });
  } finally {
    socket.destroy();
  }
}

/** Request line and headers of a `POST /notify` with the right key, without the headers that are undefined. */
export function notifyHead(headers: Readonly<Record<string, string | undefined>> = {}): string {
  const all = { Host: 'x', Authorization: `Bearer ${KEY}`, 'Content-Type': 'application/json', ...headers };
  const lines = Object.entries(all).flatMap(([name, value]) =>
    value === undefined ? [] : `${name}: ${value}\r\n`,
  );
  return `POST /notify HTTP/1.1\r\n${lines.join('')}\r\n`;
}

/** A whole `POST /notify`. */
export function notifyRequest(
  body: string | Buffer,
  headers: Readonly<Record<string, string | undefined>> = {},
): Buffer {
  const head = notifyHead({ 'Content-Length': String(Buffer.byteLength(body)), ...headers });
  // Latin-1 sends each header byte for byte as it was given.
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(body)]);
}

/** One chunk of a body with `Transfer-Encoding: chunked`. */
export function chunk(bytes: string | Buffer): Buffer {
  const head = `${Buffer.byteLength(bytes).toString(16)}\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(bytes), Buffer.from('\r\n')]);
}

export const LAST_CHUNK = '0\r\n\r\n';

function parseAnswer(bytes: Buffer): { answer: RawAnswer; length: number } | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const [statusLine = '', ...lines] = String(bytes.subarray(0, headEnd)).split('\r\n');
  const headers = Object.fromEntries(
    lines.map(line => [line.split(':')[0]?.toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
  const bodyStart = headEnd + 4;
  const length = bodyStart + Number(headers['content-length'] ?? 0);
  if (bytes.length < length) return undefined;
  const text = String(bytes.subarray(bodyStart, length));
  const isJson = /[/+]json/.test(headers['content-type'] ?? '');
  const answer = {
    status: Number(statusLine.split(' ')[1]),
    headers,
    body: isJson ? JSON.parse(text) : {},
  };
  return { answer, length };
}
