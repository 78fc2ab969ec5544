import { afterEach } from '@jest/globals';
import { pino } from 'pino';
import { readConfig } from '../../src/config.js';
import { type Clock, systemClock } from '../../src/model/clock.js';
import { createServer, type Server } from '../../src/server.js';

export const KEY = 'a-key-for-tests-of-32-characters';
export const JWT_SECRET = 'a-secret-for-tests-of-32-bytes-or-more';

export interface TestServer extends Server {
  /** `ws://…` with a path and query. */
  ws(pathAndQuery?: string): string;
  /** Posts a notification (or a batch) and returns the parsed answer. Throws if the status is not 200. */
  notify(body: object): Promise<{ id: string; connections: number; duplicate: boolean }>;
  /** The server's time, in milliseconds since the epoch. */
  now(): number;
  /** Lets so many seconds pass for a server that was started `still`: its clock, heartbeats and token expiry. */
  pass(seconds: number): void;
  /** The server's log, one object for each line. */
  readonly logged: { level: number; msg: string; [field: string]: unknown }[];
}

const running = new Set<Server>();

afterEach(async () => {
  await Promise.all([...running].map(server => server.stop()));
  running.clear();
});

/**
 * A server of its own on port 0, in this process, with settings as in the environment. Stopped after the test.
 * @param options `still`: its time stands still, except for `pass`
 */
export async function startServer(
  settings: Record<string, string> = {},
  { clock = systemClock, still = false }: { clock?: Clock; still?: boolean } = {},
): Promise<TestServer> {
  const time = still ? new StillTime() : { clock };
  const logged: TestServer['logged'] = [];
  const log = pino({ level: 'debug' }, { write: line => logged.push(JSON.parse(line)) });
  const config = readConfig({
    PORT: '0',
    NOTIFY_KEYS: KEY,
    JWT_SECRET,
    JOURNAL: 'memory',
    DRAIN_SECONDS: '0',
    ...settings,
  });
  const server = await createServer(config, log, { version: '0.0.0-test', ...time });
  await server.start();
  running.add(server);
  return {
    start: server.start,
    stop: server.stop,
    get url() {
      return server.url;
    },
    get internalUrl() {
      return server.internalUrl;
    },
    get socketUrl() {
      return server.socketUrl;
    },
    logged,
    now: time.clock.now,
    pass(seconds) {
      if (!(time instanceof StillTime)) throw new Error('start the server with `still: true`');
      time.pass(seconds);
    },
    ws: (pathAndQuery = '/') => server.url.replace('http', 'ws') + pathAndQuery,
    async notify(body) {
      const response = await fetch(`${server.internalUrl ?? server.url}/notify`, {
        method: 'POST',
        headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
      return response.json() as Promise<{ id: string; connections: number; duplicate: boolean }>;
    },
  };
}

/** A clock and timers that move only when a test moves them. */
class StillTime {
  #now = Date.now();
  readonly #timers = new Set<{ milliseconds: number; dueAt: number; run: () => void }>();

  readonly clock: Clock = { now: () => this.#now, elapsed: () => this.#now };

  readonly every = (milliseconds: number, run: () => void): (() => void) => {
    const timer = { milliseconds, dueAt: this.#now + milliseconds, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  pass(seconds: number): void {
    for (let second = 0; second < seconds; second++) {
      this.#now += 1000;
      for (const timer of this.#timers) {
        for (; timer.dueAt <= this.#now; timer.dueAt += timer.milliseconds) timer.run();
      }
    }
  }
}
