import { randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import { afterEach } from '@jest/globals';

/** Opcodes of RFC 6455 §5.2. */
export const OPCODE = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export interface RawFrame {
  readonly opcode: number;
  readonly payload: Buffer;
}

const open = new Set<Socket>();

afterEach(() => {
  for (const socket of open) socket.destroy();
  open.clear();
});

/** A bare TCP connection to a server. Destroyed after the test. */
export async function tcp(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connectSocket({ host: hostname, port: Number(port) });
  open.add(socket);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** The text of an upgrade request, without the headers that are undefined. */
export function upgradeRequest(
  path = '/',
  headers: Record<string, string | undefined> = {},
  method = 'GET',
): string {
  const all = {
    Host: 'localhost',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}\r\n`],
  );
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

/** One masked frame of a client. */
export function clientFrame(payload: string | Buffer, opcode: number = OPCODE.text): Buffer {
  const bytes = Buffer.from(payload as string);
  const length =
    bytes.length < 126
      ? Buffer.from([0x80 | bytes.length])
      : Buffer.from([0x80 | 126, bytes.length >> 8, bytes.length & 0xff]);
  const mask = randomBytes(4);
  const masked = bytes.map((byte, index) => byte ^ (mask[index % 4] ?? 0));
  return Buffer.concat([Buffer.from([0x80 | opcode]), length, mask, masked]);
}

/** Everything that a server sends until it closes the connection. */
export async function answerTo(url: string, request: string | Buffer): Promise<Answer> {
  const socket = await tcp(url);
  socket.write(request);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const [head = '', body = ''] = Buffer.concat(chunks).toString().split('\r\n\r\n');
  const [status = '', ...lines] = head.split('\r\n');
  const headers = Object.fromEntries(
    lines.map(line => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  );
  return { status: Number(status.split(' ')[1]), headers, body };
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

/** A WebSocket client that answers no ping. It answers a close by hanging up. */
export class RawClient {
  /** If true, it does not answer a close. */
  stubborn = false;
  readonly socket: Socket;
  readonly closed: Promise<unknown>;
  readonly #frames: RawFrame[] = [];
  #rest = Buffer.alloc(0);
  #head: string | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise(resolve => socket.on('close', resolve));
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('close', () => this.#wake?.());
  }

  /** The next frame; undefined if the connection has ended. */
  async next(): Promise<RawFrame | undefined> {
    await this.#until(() => this.#frames.length > 0);
    return this.#frames.shift();
  }

  /** The next frame of that opcode, as text. */
  async nextOf(opcode: number): Promise<string | undefined> {
    for (;;) {
      const frame = await this.next();
      if (frame === undefined || frame.opcode === opcode) return frame?.payload.toString();
    }
  }

  /** The next text frame, parsed. */
  async nextJson(): Promise<Record<string, unknown> & { type: string }> {
    const text = await this.nextOf(OPCODE.text);
    if (text === undefined) throw new Error('the connection has ended');
    return JSON.parse(text);
  }

  /** The head of the server's answer to the upgrade. */
  async head(): Promise<string> {
    await this.#until(() => this.#head !== undefined);
    return this.#head ?? '';
  }

  send(frame: object | string): void {
    this.socket.write(clientFrame(typeof frame === 'string' ? frame : JSON.stringify(frame)));
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo() && !this.socket.closed) {
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
  }

  #take(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk]);
    if (this.#head === undefined) {
      const end = this.#rest.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.#head = this.#rest.subarray(0, end).toString();
      this.#rest = this.#rest.subarray(end + 4);
    }
    let at = 0;
    for (;;) {
      const frame = readFrame(this.#rest, at);
      if (frame === undefined) break;
      this.#frames.push(frame);
      if (frame.opcode === OPCODE.close && !this.stubborn) this.socket.end();
      at = frame.end;
    }
    this.#rest = this.#rest.subarray(at);
    this.#wake?.();
  }
}

/** Opens a raw WebSocket and waits for the welcome. */
export async function rawConnect(url: string, path = '/'): Promise<RawClient> {
  const socket = await tcp(url);
  const client = new RawClient(socket);
  socket.write(upgradeRequest(path));
  await client.head();
  return client;
}

/** The server's socket of each TCP connection that is made while `during` runs, in the same process. */
export async function serverSockets(during: () => Promise<unknown>): Promise<Socket[]> {
  const sockets: Socket[] = [];
  const note = (message: unknown) => sockets.push((message as { socket: Socket }).socket);
  subscribe('net.server.socket', note);
  try {
    await during();
  } finally {
    unsubscribe('net.server.socket', note);
  }
  return sockets;
}

/** Lets the event loop turn until a condition holds. */
export async function until(isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`never came to be: ${isSo}`);
    await new Promise(resolve => setImmediate(resolve));
  }
}

function readFrame(bytes: Buffer, at: number): (RawFrame & { end: number }) | undefined {
  if (bytes.length < at + 2) return undefined;
  let length = (bytes[at + 1] ?? 0) & 0x7f;
  let start = at + 2;
  if (length === 126) {
    if (bytes.length < at + 4) return undefined;
    length = bytes.readUInt16BE(at + 2);
    start = at + 4;
  } else if (length === 127) {
    if (bytes.length < at + 10) return undefined;
    length = Number(bytes.readBigUInt64BE(at + 2));
    start = at + 10;
  }
  const end = start + length;
  if (bytes.length < end) return undefined;
  return { opcode: (bytes[at] ?? 0) & 0x0f, payload: bytes.subarray(start, end), end };
}
