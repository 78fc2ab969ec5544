/**
 * The load side, a process of its own: holds the listeners, publishes, counts, and reads the server's CPU at
 * the same moments as its own. The harness starts it and sends one command at a time:
 *
 *   connect  { paths, together }                         opens a listener for each path, so many at a time
 *   fanout   { connections, window, warm, seconds }      publishes to all listeners, see load/fanout.js
 *   publish  { connections, keepAlive, warm, seconds }   publishes to a room without listeners
 *
 * Every answer carries what load/usage.js says. A failure ends the process.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fanout } from './load/fanout.js';
import { listen } from './load/listener.js';
import { notifyRequest, openFreshPublisher, openPublisher } from './load/publisher.js';
import { mark, usageSince } from './load/usage.js';

const { pid, cores, port, joined, key } = JSON.parse(process.argv[2]);
const target = { pid, cores };
const commands = { connect, fanout, publish };
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

function percentiles(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = share => sorted[Math.floor(sorted.length * share)];
  return { p50: at(0.5), p99: at(0.99) };
}
