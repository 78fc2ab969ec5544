import { afterEach } from '@jest/globals';
import {
  type Fault,
  type Notification,
  type Options,
  type Postroom,
  postroom,
} from '../../clients/js/src/postroom.js';

/** Lets everything run that is ready to run: also promises, but no timers. */
export function settle(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}

/** A clock that the test moves. */
export class FakeClock {
  time = 1_763_856_000_000;
  readonly #timers = new Map<number, { at: number; run: () => void }>();
  #last = 0;

  readonly now = () => this.time;

  setTimeout(run: () => void, milliseconds: number): unknown {
    // A browser does the same: it does not wait at all.
    const wait = milliseconds > 2 ** 31 - 1 ? 0 : Math.max(0, milliseconds);
    this.#timers.set(++this.#last, { at: this.time + wait, run });
    return this.#last;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as number);
  }

  /** Milliseconds until the timers are due, the next one first. */
  get due(): number[] {
    return [...this.#timers.values()].map(({ at }) => at - this.time).sort((a, b) => a - b);
  }

  async advance(milliseconds: number): Promise<void> {
    const until = this.time + milliseconds;
    await settle();
    for (;;) {
      const [next] = [...this.#timers].sort(([, a], [, b]) => a.at - b.at);
      if (next === undefined || next[1].at > until) break;
      this.#timers.delete(next[0]);
      this.time = next[1].at;
      next[1].run();
      await settle();
    }
    this.time = until;
  }
}

/** A WebSocket. The test is its far end. */
export class FakeSocket {
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  /** Frames that the client sent, parsed. */
  readonly sent: Record<string, unknown>[] = [];
  /** Whether the client has released it. */
  released = false;
  readonly url: string;
  readonly protocols: string[];

  constructor(url: string, protocols: string[]) {
    this.url = url;
    this.protocols = protocols;
  }

  get query(): URLSearchParams {
    return new URL(this.url).searchParams;
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.released = true;
  }

  receive(frame: object): void {
    (this.onmessage as (event: { data: string }) => void)({ data: JSON.stringify(frame) });
  }

  welcome(fields: object = {}): void {
    this.receive({ type: 'welcome', connection: '1.2', user: null, id: '100-0', ping: 25, ...fields });
  }

  notify(id: string, event = 'event', fields: object = {}): void {
    this.receive({ type: 'notification', id, room: 'a', event, data: id, ...fields });
  }

  /** Ends the connection, from the server's side or on the way. */
  lose(code = 1006, reason = ''): void {
    (this.onclose as (event: object) => void)({ code, reason, wasClean: code !== 1006 });
  }
}

/** It sends `online` and `visibilitychange`. */
export class FakeWindow extends EventTarget {
  readonly document = { hidden: false };
}

/** A client among fakes, and everything that it reported to the application. */
export interface World {
  readonly room: Postroom;
  readonly clock: FakeClock;
  readonly window: FakeWindow;
  readonly sockets: FakeSocket[];
  /** The newest socket. */
  readonly socket: FakeSocket;
  readonly states: string[];
  readonly faults: Fault[];
  readonly heard: Notification[];
  /** Takes off the handler that fills `heard`. */
  readonly deafen: () => void;
  readonly losses: () => number;
}

const rooms = new Set<Postroom>();

afterEach(() => {
  for (const room of rooms) room.close();
  rooms.clear();
});

/** Opens a client and gives it `options`. By default `random` is 1, so delays are as long as possible. */
export async function openClient(
  options: Options & { clock?: FakeClock } = {},
  url = 'ws://server/ws?room=a',
): Promise<World> {
  const { clock = new FakeClock() } = options;
  const window = new FakeWindow();
  const sockets: FakeSocket[] = [];
  const FakeWebSocket = class extends FakeSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      sockets.push(this);
    }
  };
  const room = postroom(url, { WebSocket: FakeWebSocket, window, random: () => 1, ...options, clock });
  rooms.add(room);
  const states: string[] = [];
  const faults: Fault[] = [];
  const heard: Notification[] = [];
  let losses = 0;
  room.onstate = state => states.push(state);
  room.onerror = fault => faults.push(fault);
  room.onlost = () => {
    losses++;
  };
  const deafen = room.on('*', (_, frame) => heard.push(frame));
  await settle();
  return {
    room,
    clock,
    window,
    sockets,
    get socket() {
      const socket = sockets.at(-1);
      if (socket === undefined) throw new Error('no socket was opened');
      return socket;
    },
    states,
    faults,
    heard,
    deafen,
    losses: () => losses,
  };
}

/** A JWT that expires at this time of the clock. It has only the parts that a client reads. */
export function jwtUntil(milliseconds: number, name = ''): string {
  const base64url = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${base64url({ alg: 'HS256' })}.${base64url({ name: `${name}ÿ?>`, exp: milliseconds / 1000 })}.signature`;
}
