import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterEach, jest } from '@jest/globals';
import { type Environment, type ServerProcess, startProcess } from './process.js';
import { JWT_SECRET, KEY } from './server.js';

export const MIB = 1024 * 1024;

/** One `GET /health/live`: when it was sent (milliseconds since the epoch), and how many milliseconds it took. */
export interface Beat {
  readonly at: number;
  readonly took: number;
  readonly ok: boolean;
}

export interface Receipt {
  readonly id: string;
  readonly connections: number;
}

// These tests measure how late answers come, on machines that others may use too. A real fault fails each time.
jest.retryTimes(2, { logErrorsBeforeRetry: true });

const collector = fileURLToPath(new URL('./collect.cjs', import.meta.url));
const pulse = fileURLToPath(new URL('./pulse.js', import.meta.url));
const listeners = fileURLToPath(new URL('./listeners.js', import.meta.url));
const sockets = new Set<Socket>();
const children = new Set<ChildProcess>();

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  for (const child of children) child.kill('SIGKILL');
  children.clear();
});

/** The real program as in production, with the past in memory unless `env` says otherwise. */
export function startVictim(env: Environment = {}, nodeOptions = ''): Promise<ServerProcess> {
  return startProcess({
    NODE_ENV: 'production',
    NODE_OPTIONS: `--require ${collector} ${nodeOptions}`,
    NOTIFY_KEYS: KEY,
    JWT_SECRET,
    JOURNAL: 'memory',
    ...env,
  });
}

/** A peer that writes and never reads. Destroyed after the test. */
export async function deafPeer({ port }: { port: number }, bytes: string): Promise<Socket> {
  const socket = connectSocket({ host: '127.0.0.1', port });
  sockets.add(socket);
  socket.on('error', () => undefined);
  socket.pause();
  await once(socket, 'connect');
  if (bytes !== '') socket.write(bytes);
  return socket;
}

/** A request, repeated up to 64 KiB. */
export function pipelined(request: string): string {
  return request.repeat(Math.ceil((64 * 1024) / request.length));
}

/** Network connections that the process holds. */
export function connectionsOf({ pid }: { pid: number }): number {
  return readdirSync(`/proc/${pid}/fd`).filter(fd => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // closed between the listing and now
    }
  }).length;
}

/** How many files and sockets a process started from here can open (Node raises itself to the hard limit). */
export function openFilesLimit(): number {
  const [, hard] = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
  return hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
}

/** Milliseconds of CPU that all threads of the process have used. */
export function cpuMs({ pid }: { pid: number }): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
    try {
      return (
        sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]) / 1e6
      );
    } catch {
      return sum; // it ended between the listing and now
    }
  }, 0);
}

export function rss({ pid }: { pid: number }): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
  return Number(kib) * 1024;
}

/** The least memory of the process within some seconds in which it collects garbage: the memory that it holds. */
export async function heldMemory(server: ServerProcess, seconds = 5): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let second = 0; second < seconds; second++) {
    process.kill(server.pid, 'SIGUSR2');
    await pass(1000);
    least = Math.min(least, rss(server));
  }
  return least;
}

/** Beats until `stop`, which returns all of them. */
export async function startPulse(
  { port }: { port: number },
  everyMs: number,
): Promise<{ stop(): Promise<Beat[]> }> {
  const child = fork(pulse, [String(port), String(everyMs)], { execArgv: [] });
  children.add(child);
  await once(child, 'message');
  return {
    async stop() {
      const told = once(child, 'message');
      child.send('stop');
      const [beats] = await told;
      children.delete(child);
      return beats as Beat[];
    },
  };
}

export interface Listeners {
  /** The ids that they heard up to this id, in order; whether all heard the same; how many were closed. */
  heard(last: string): Promise<{ ids: string[]; alike: boolean; closed: number }>;
}

/** So many listeners of a room, in a process of their own. All have joined when this resolves. */
export async function startListeners(
  { port }: { port: number },
  count: number,
  room: string,
): Promise<Listeners> {
  const child = fork(listeners, [String(port), String(count), room], { execArgv: [] });
  children.add(child);
  await once(child, 'message');
  return {
    async heard(last) {
      const told = once(child, 'message');
      child.send({ last });
      const [heard] = await told;
      return heard as Awaited<ReturnType<Listeners['heard']>>;
    },
  };
}

/** Posts a body (or its text) with the right key. */
export async function publish<T>(
  { url }: { url: string },
  body: object | string,
): Promise<{ status: number; body: T }> {
  const response = await fetch(`${url}/notify`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as T };
}

/** Posts notifications in batches of a thousand. Returns their ids, in order. */
export async function publishAll(
  server: { url: string },
  notifications: readonly object[],
): Promise<string[]> {
  const ids: string[] = [];
  for (let from = 0; from < notifications.length; from += 1000) {
    const { body } = await publish<{ results: Receipt[] }>(server, notifications.slice(from, from + 1000));
    ids.push(...body.results.map(({ id }) => id));
  }
  return ids;
}

/** `at` from 0 to 1. */
export function quantile(numbers: readonly number[], at: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(at * sorted.length))] ?? Number.NaN;
}

/** Checks again and again until a condition holds. Resolves to whether it did within so many milliseconds. */
export async function comesToBe(isSo: () => boolean, milliseconds: number): Promise<boolean> {
  const deadline = performance.now() + milliseconds;
  while (!isSo()) {
    if (performance.now() > deadline) return false;
    await pass(10);
  }
  return true;
}

/** For tests about time itself. */
export function pass(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds));
}

/** Prints one line of numbers, as in docs/reliability.md. */
export function tell(what: string, figures: Readonly<Record<string, number | boolean | string>>): void {
  const parts = Object.entries(figures).map(
    ([name, value]) => `${name} ${typeof value === 'number' ? Math.round(value * 10) / 10 : value}`,
  );
  process.stdout.write(`${what}: ${parts.join(', ')}\n`);
}

/**
 * A peer that never reads. It asks until an answer or two find no room in the system's buffers: these answers hold the
 * server up, but the server still reads the next requests.
 */
export async function fullPeer(
  server: { port: number },
  request: string,
  answerBytes: number,
): Promise<Socket> {
  const socket = await deafPeer(server, '');
  for (let asked = 0; asked * answerBytes < CERTAINLY_ROOM; asked += 10) {
    socket.write(request.repeat(10));
    await pass(5);
  }
  let before = -answerBytes;
  let now = 0;
  const hasGrown = () => {
    now = unsentTo(socket.localPort ?? 0, server.port);
    return now >= before + answerBytes;
  };
  // Two answers at a time, because looking is slow if the system has many connections.
  while (await comesToBe(hasGrown, STUCK_MS)) {
    before = now;
    socket.write(request.repeat(2));
    await pass(10);
  }
  return socket;
}

// So much is certainly free of the 4 MB that Linux lets wait for one peer.
const CERTAINLY_ROOM = 3.3 * 1024 * 1024;
// An answer that the system has not taken in this time is stuck.
const STUCK_MS = 500;

/** Bytes that the system holds for a peer and could not send. */
function unsentTo(peerPort: number, port: number): number {
  const [server, peer] = [port, peerPort].map(
    each => `0100007F:${each.toString(16).toUpperCase().padStart(4, '0')}`,
  );
  const table = readFileSync('/proc/net/tcp', 'latin1');
  const [, unsent = '0'] = new RegExp(`${server} ${peer} .. (\\w+):`).exec(table) ?? [];
  return Number.parseInt(unsent, 16);
}
