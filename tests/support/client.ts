import { afterEach } from '@jest/globals';
import jwt from 'jsonwebtoken';
import { type ClientOptions, WebSocket } from 'ws';
import { JWT_SECRET } from './server.js';

/** A parsed frame of the server. */
export interface Frame {
  type: string;
  [field: string]: unknown;
}

/** A client that keeps what it receives until the test asks for it. */
export interface TestClient {
  readonly socket: WebSocket;
  /** The next frame, in order; waits for it. Rejects if the connection closes first. */
  next(): Promise<Frame>;
  /** The next frame as text, exactly as it came. */
  nextText(): Promise<string>;
  /** Skips to the next frame of a type. */
  nextOf(type: string): Promise<Frame>;
  send(frame: object | string): void;
  /** Checks that nothing more has arrived: the next frame is the answer to a ping. */
  quiet(): Promise<void>;
  /** How the server closed it. */
  readonly closed: Promise<{ code: number; reason: string }>;
}

const open = new Set<WebSocket>();

afterEach(() => {
  for (const socket of open) socket.terminate();
  open.clear();
});

/** Opens a WebSocket; resolves when it is open, before the first frame. Closed after the test. */
export async function connect(
  url: string,
  protocols: string[] = [],
  options: ClientOptions = {},
): Promise<TestClient> {
  const socket = new WebSocket(url, protocols, options);
  open.add(socket);
  const frames: string[] = [];
  const waiting: { resolve(text: string): void; reject(error: Error): void }[] = [];
  let end: { code: number; reason: string } | undefined;
  socket.on('message', data => {
    const text = String(data);
    const first = waiting.shift();
    if (first === undefined) frames.push(text);
    else first.resolve(text);
  });
  const closed = new Promise<{ code: number; reason: string }>(resolve => {
    socket.on('close', (code, reason) => {
      end = { code, reason: String(reason) };
      for (const waiter of waiting.splice(0)) waiter.reject(new Error(`closed with ${code} ${reason}`));
      resolve(end);
    });
  });
  await new Promise<void>((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  });
  const nextText = () => {
    const text = frames.shift();
    if (text !== undefined) return Promise.resolve(text);
    if (end !== undefined) return Promise.reject(new Error(`closed with ${end.code} ${end.reason}`));
    return new Promise<string>((resolve, reject) => waiting.push({ resolve, reject }));
  };
  const next = async () => JSON.parse(await nextText()) as Frame;
  const client: TestClient = {
    socket,
    closed,
    next,
    nextText,
    async nextOf(type) {
      for (;;) {
        const frame = await next();
        if (frame.type === type) return frame;
      }
    },
    send: frame => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    async quiet() {
      const ref = `quiet-${Math.random()}`;
      client.send({ type: 'ping', ref });
      const frame = await next();
      if (frame.ref !== ref) throw new Error(`expected nothing, got ${JSON.stringify(frame)}`);
    },
  };
  return client;
}

/** A signed token, valid for an hour unless `claims` says otherwise. */
export function token(
  claims: object,
  options: jwt.SignOptions = {},
  secret: jwt.Secret = JWT_SECRET,
): string {
  return jwt.sign({ exp: Math.floor(Date.now() / 1000) + 3600, ...claims }, secret, options);
}
