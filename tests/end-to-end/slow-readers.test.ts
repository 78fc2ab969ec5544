import { existsSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from '@jest/globals';
import { WebSocket } from 'ws';
import { startProcess } from '../support/process.js';
import { InsistentPublisher } from '../support/resuming.js';

const KEY = 'a-key-for-the-slow-readers-of-32-characters';
const STALLED = 500;
const LIVE = 10;
const COUNT = 800;
// Together this is far more than the kernel takes for a peer that does not read.
const DATA = 'x'.repeat(10_000);
const MIB = 1024 * 1024;
const MAX_BUFFERED_BYTES = 65_536;
const WINDOW_BYTES = 16 * MIB;
// The growth of a heap before it is collected, and the sockets' own objects.
const SLACK_BYTES = 96 * MIB;

const sockets: WebSocket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.terminate();
});

/** Counts what arrives in order. Throws if something is missing or comes twice. */
class Counter {
  received = 0;
  closed: number | undefined;
  readonly socket: WebSocket;
  readonly joined: Promise<void>;
  #changed = () => {};

  constructor(url: string) {
    this.socket = new WebSocket(url, { maxPayload: MIB });
    sockets.push(this.socket);
    this.joined = new Promise(resolve => {
      this.socket.on('message', (message: Buffer) => {
        const text = message.subarray(0, 120).toString();
        if (text.startsWith('{"type":"subscribed"')) resolve();
        const number = /"event":"(\d+)"/.exec(text)?.[1];
        if (number === undefined) return;
        if (Number(number) !== this.received) throw new Error(`${number} came after ${this.received - 1}`);
        this.received++;
        this.#changed();
      });
    });
    this.socket.on('close', code => {
      this.closed = code;
      this.#changed();
    });
  }

  async all(): Promise<void> {
    while (this.received < COUNT) {
      if (this.closed !== undefined) throw new Error(`closed with ${this.closed} after ${this.received}`);
      await new Promise<void>(resolve => {
        this.#changed = resolve;
      });
    }
  }
}

function rssBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

const onLinux = existsSync('/proc/self/status') ? it : it.skip;

describe('slow readers', () => {
  onLinux(
    `${STALLED} stalled ones cost a cursor each, slow nobody, and miss nothing (memory: Linux only)`,
    async () => {
      const server = await startProcess({
        NOTIFY_KEYS: KEY,
        JWT_SECRET: KEY,
        JOURNAL: 'disk',
        MAX_BUFFERED_BYTES: String(MAX_BUFFERED_BYTES),
        RETENTION_BYTES: String(WINDOW_BYTES),
      });
      const url = `${server.url.replace('http', 'ws')}/ws?room=public.slow`;
      const live = Array.from({ length: LIVE }, () => new Counter(url));
      const stalled = Array.from({ length: STALLED }, () => new Counter(url));
      await Promise.all([...live, ...stalled].map(({ joined }) => joined));
      for (const { socket } of stalled) socket.pause();
      const before = rssBytes(server.pid);

      const publisher = new InsistentPublisher(() => server.url, KEY);
      for (let number = 0; number < COUNT; number++)
        await publisher.publish('public.slow', DATA, { event: String(number), key: `${number}` });
      await Promise.all(live.map(counter => counter.all()));
      expect(Math.max(...stalled.map(({ received }) => received))).toBeLessThan(COUNT);
      const grown = rssBytes(server.pid) - before;
      expect(grown).toBeLessThan(STALLED * MAX_BUFFERED_BYTES + WINDOW_BYTES + SLACK_BYTES);

      for (const { socket } of stalled) socket.resume();
      await Promise.all(stalled.map(counter => counter.all()));
      expect(stalled.every(({ closed }) => closed === undefined)).toBe(true);
    },
    120_000,
  );
});
