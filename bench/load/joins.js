/** Listeners that come at a steady rate, and perhaps leave again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { listen } from './listener.js';
import { atRate } from './pace.js';

/** Until the members have heard of the last join. */
const HEAR_MS = 100;
const LEFT = Buffer.from('"left"');
const JOINED = /"type":"joined","room":"[^"]*","user":"([^"]*)"/g;

/**
 * Opens a listener for each path, so many a second. Resolves when all have joined, to the listeners, the seconds that
 * it took, and for each the ms from the connection to the frame that says so.
 */
export async function joinAtRate({ port, paths, joined, heard, rate }) {
  const started = performance.now();
  const opening = [];
  const latencies = [];
  await atRate(rate, paths.length, n => opening.push(open(paths[n])));
  const listeners = await Promise.all(opening);
  const seconds = (performance.now() - started) / 1000;
  await sleep(HEAR_MS);
  return { listeners, seconds, latencies };

  async function open(path) {
    const before = performance.now();
    const listener = await listen({ port, path, joined, heard });
    latencies.push(performance.now() - before);
    return listener;
  }
}

/** For so many seconds listeners come at this rate, on the paths in turn. Each leaves `stay` ms after it has joined. */
export async function comeAndGo({ port, paths, joined, rate, stay, seconds }) {
  const visits = [];
  await atRate(rate, rate * seconds, n => visits.push(visit(paths[n % paths.length])));
  const frames = await Promise.all(visits);
  return frames.reduce((sum, count) => sum + count, 0);

  async function visit(path) {
    const listener = await listen({ port, path, joined, heard() {} });
    await sleep(stay);
    listener.leave();
    return listener.frames;
  }
}

/**
 * A member on the port `watching`, while others join on `port` at a rate: in ms, how long after the beginning of the
 * connection the member hears of each. `users` has the user of each path.
 */
export async function hearJoins({ port, watching, watcher, paths, users, joined, rate, warm }) {
  const begun = new Map();
  const latencies = [];
  let text = '';
  const took = (_listener, bytes) => {
    const now = performance.now();
    text += bytes.latin1Slice();
    let read = 0;
    for (const match of text.matchAll(JOINED)) {
      const before = begun.get(match[1]);
      read = match.index + match[0].length;
      begun.delete(match[1]);
      if (before !== undefined) latencies.push(now - before);
    }
    text = text.slice(read);
    if (text.includes(LEFT)) throw new Error('a member has left');
  };
  await listen({ port: watching, path: watcher, joined, heard() {}, took });
  const opening = [];
  await atRate(rate, paths.length, n => {
    begun.set(users[n], performance.now());
    opening.push(listen({ port, path: paths[n], joined, heard() {} }));
  });
  await Promise.all(opening);
  for (let tries = 0; begun.size > 0; tries++) {
    if (tries === 50) throw new Error(`${begun.size} joins were not heard of`);
    await sleep(HEAR_MS);
  }
  return latencies.slice(warm);
}
