/**
 * The load side, a process of its own: holds the listeners, publishes, counts, and reads the server's CPU at
 * the same moments as its own. The harness starts it and sends one command at a time:
 *
 *   connect  { paths, together }                         opens a listener for each path, so many at a time
 *   fanout   { connections, window, warm, seconds }      publishes to all listeners, see load/fanout.js
 *   publish  { connections, keepAlive, warm, seconds }   publishes to a room without listeners
 *   stall    { count }                                   so many of the listeners stop reading
 *   stream   { connections, rate, bytes, warm, seconds } publishes so many a second, see load/stream.js
 *   catchUp  {}                                          who stopped reads on, until all have heard everything
 *   reconnect { paths, missed }                          a listener for each path, see load/reconnect.js
 *
 * Every answer carries what load/usage.js says. A failure ends the process.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fanout } from './load/fanout.js';
import { listen } from './load/listener.js';
import { notifyRequest, openFreshPublisher, openPublisher } from './load/publisher.js';
import { reconnectAll } from './load/reconnect.js';
import { Stream } from './load/stream.js';
import { mark, usageSince } from './load/usage.js';

const { pid, cores, port, joined, key } = JSON.parse(process.argv[2]);
const target = { pid, cores };
const commands = { connect, fanout, publish, stall, stream, catchUp, reconnect };
const listeners = [];
let running = { drained: Promise.resolve() }; // the fan-out whose notifications arrive

process.on('message', async ({ command, options }) => process.send(await commands[command](options)));
process.on('disconnect', () => process.exit());

async function connect({ paths, together }) {
  await running.drained;
  const before = mark(target);
  const heard = (listener, count) => running.heard(listener, count);
  let next = 0;
  async function openInTurn() {
    while (next < paths.length) listeners.push(await listen({ port, path: paths[next++], joined, heard }));
  }
  await Promise.all(Array.from({ length: together }, openInTurn));
  return usageSince(before, target);
}

async function fanout({ connections, window, warm, seconds }) {
  await running.drained;
  const request = notifyRequest({ port, key, room: 'public.bench' });
  const fanout = new Fanout({ port, request, listeners, connections, window });
  running = fanout;
  await sleep(warm * 1000);
  const before = mark(target);
  const deliveredBefore = fanout.delivered;
  fanout.latencies = [];
  await sleep(seconds * 1000);
  const usage = usageSince(before, target);
  const deliveries = fanout.delivered - deliveredBefore;
  fanout.stop();
  return { ...usage, deliveries, ...percentiles(fanout.latencies) };
}

async function publish({ connections, keepAlive, warm, seconds }) {
  const request = notifyRequest({ port, key, room: 'public.empty' });
  const open = keepAlive ? openPublisher : openFreshPublisher;
  let answers = 0;
  let stopped = false;
  function answered(publisher) {
    answers++;
    if (stopped) publisher.close();
    else publisher.post();
  }
  for (let n = 0; n < connections; n++) open({ port, request, answered }).post();
  await sleep(warm * 1000);
  const before = mark(target);
  const answersBefore = answers;
  await sleep(seconds * 1000);
  const usage = usageSince(before, target);
  stopped = true;
  return { ...usage, publishes: answers - answersBefore };
}

async function stall({ count }) {
  await running.drained;
  for (const listener of listeners.slice(-count)) {
    listener.stalled = true;
    listener.pause();
  }
  return {};
}

async function stream({ connections, rate, bytes, warm, seconds }) {
  await running.drained;
  const request = notifyRequest({ port, key, room: 'public.bench', data: 'x'.repeat(bytes) });
  const stream = new Stream({ port, request, listeners, connections, rate });
  running = stream;
  await sleep(warm * 1000);
  const before = mark(target);
  stream.latencies = [];
  await sleep(seconds * 1000);
  const usage = usageSince(before, target);
  const { latencies } = stream;
  await stream.stop();
  return { ...usage, ...percentiles(latencies) };
}

async function catchUp() {
  const before = mark(target);
  for (const listener of listeners) listener.resume();
  await running.heardBy(listeners);
  return usageSince(before, target);
}

async function reconnect({ paths, missed }) {
  const before = mark(target);
  const check = await reconnectAll({ port, paths, joined, missed });
  const usage = usageSince(before, target);
  await check();
  return usage;
}

function percentiles(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = share => sorted[Math.floor(sorted.length * share)];
  return { p50: at(0.5), p99: at(0.99) };
}
