/**
 * The load side, a process of its own. It holds the listeners, publishes, counts, and reads the server's CPU at the
 * same moments as its own. The harness starts it and sends one command at a time:
 *
 *   connect  { paths, together, node }                    opens a listener for each path, so many at a time
 *   acknowledge { count }                                 opens so many listeners that acknowledge at once
 *   checkAcknowledged { fields }                          fails if one publish is not acknowledged by all of them
 *   fanout   { connections, window, warm, seconds, node, fields } publishes to all listeners, see load/fanout.js
 *   publish  { connections, keepAlive, warm, seconds, names } publishes to a room without listeners
 *   stall    { count }                                    so many listeners stop reading
 *   stream   { connections, rate, bytes, warm, seconds }  publishes so many a second, see load/stream.js
 *   catchUp  {}                                           they read on, until all have heard everything
 *   reconnect { paths, missed }                           a listener for each path, see load/reconnect.js
 *   singles  { warm, count, rate }                        publishes one by one, each after the last was heard
 *   drain    { warm, seconds }                            how much the server takes of a full broker
 *   flood    { pipelines, count, warm, seconds }          how much it takes while the load sends without pause
 *   join     { paths, rate }                              opens a listener for each path, so many a second
 *   churn    { paths, rate, stay, seconds }               listeners come and go, see load/joins.js
 *   hearJoins { paths, users, watcher, rate, warm }       a member on the last node hears of joins on the first
 *   ask      { paths, post, rate, connections }           asks the control API from now on, or posts to a room
 *   asked    {}                                           ends that
 *   idle     { seconds }                                  only looks at what the servers do
 *   talk     { dialect, rooms, window, rate, warm, seconds } clients publish to the others in their rooms, see load/talk.js
 *   call     { through, connections, rate, seconds … }    asks PHP, see load/callers.js
 *   walk     { path, list, name, limit, pages }           a list of the control API, see load/questions.js
 *
 * If there are several servers, listeners and publishers go to all of them in turn, or to `node` alone. With a Unix
 * socket they publish there.
 *
 * Every answer includes the numbers of load/usage.js. A failure ends the process.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { openAcknowledger } from './load/acknowledger.js';
import { Callers, mostAtOnce } from './load/callers.js';
import { Fanout } from './load/fanout.js';
import { begun, intakeOf, keepSending } from './load/intake.js';
import { comeAndGo, hearJoins as heardJoins, joinAtRate } from './load/joins.js';
import { listen } from './load/listener.js';
import { notifyBody, notifyRequest, openFreshPublisher, openPublisher } from './load/publisher.js';
import { Questions, question, walk as walkList } from './load/questions.js';
import { reconnectAll } from './load/reconnect.js';
import { openSender } from './load/senders.js';
import { Stream } from './load/stream.js';
import { Talk } from './load/talk.js';
import { mark, usageSince } from './load/usage.js';

const { pids, broker, cores, ports, socket, source, joined, key } = JSON.parse(process.argv[2]);
const target = { pids, broker, cores };
const [port] = ports;
const targets = socket ? [{ path: socket }] : ports.map(port => ({ host: '127.0.0.1', port }));
const intake = intakeOf({ port, key, source });
const commands = {
  connect,
  acknowledge,
  checkAcknowledged,
  fanout,
  publish,
  stall,
  stream,
  catchUp,
  reconnect,
  singles,
  drain,
  flood,
  join,
  churn,
  hearJoins,
  ask,
  asked,
  idle,
  talk,
  call,
  walk,
};
const listeners = [];
let questions;
let running = { drained: Promise.resolve() }; // the fan-out whose notifications arrive

process.on('message', async ({ command, options }) => process.send(await commands[command](options)));
process.on('disconnect', () => process.exit());

async function connect({ paths, together, node }) {
  await running.drained;
  const before = mark(target);
  const heard = (listener, count) => running.heard(listener, count);
  let next = 0;
  async function openInTurn() {
    while (next < paths.length) {
      const port = ports[node ?? next % ports.length];
      listeners.push(await listen({ port, path: paths[next++], joined, heard }));
    }
  }
  await Promise.all(Array.from({ length: together }, openInTurn));
  return usageSince(before, target);
}

async function acknowledge({ count }) {
  await running.drained;
  const heard = listener => running.heard(listener, 1);
  for (let n = 0; n < count; n++)
    listeners.push(await openAcknowledger({ port, path: '/ws?room=public.bench', heard }));
  return {};
}

async function checkAcknowledged({ fields }) {
  await running.drained;
  running = { drained: Promise.resolve(), heard() {} };
  const answer = await fetch(`http://127.0.0.1:${port}/notify`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
    body: notifyBody({ room: 'public.bench', ...fields }),
  });
  const { acknowledged } = await answer.json();
  if (acknowledged !== listeners.length)
    throw new Error(`${acknowledged} of ${listeners.length} acknowledged`);
  return {};
}

async function fanout({ connections, window, warm, seconds, node, fields }) {
  await running.drained;
  const request = notifyRequest({ key, room: 'public.bench', ...fields });
  const to = node === undefined ? targets : [targets[node]];
  const fanout = new Fanout({ targets: to, request, listeners, connections, window });
  running = fanout;
  await sleep(warm * 1000);
  const before = mark(target);
  const deliveredBefore = fanout.delivered;
  fanout.latencies = [];
  fanout.answers = [];
  await sleep(seconds * 1000);
  const usage = usageSince(before, target);
  const deliveries = fanout.delivered - deliveredBefore;
  const answers = [...fanout.answers];
  fanout.stop();
  return {
    ...usage,
    deliveries,
    ...percentiles(fanout.latencies),
    publishes: answers.length,
    answers: percentiles(answers),
  };
}

async function publish({ connections, keepAlive, warm, seconds, names = 1 }) {
  const requests = Array.from({ length: names }, (_, n) =>
    notifyRequest({ key, room: 'public.empty', ...(names > 1 && { collapse: `name.${n}` }) }),
  );
  const [request] = requests;
  let next = 0;
  const open = keepAlive ? openPublisher : openFreshPublisher;
  let answers = 0;
  let stopped = false;
  function answered(publisher) {
    answers++;
    if (stopped) publisher.close();
    else publisher.post(names > 1 ? requests[next++ % names] : request);
  }
  for (let n = 0; n < connections; n++) {
    open({ to: targets[n % targets.length], request, answered }).post();
  }
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
  const request = notifyRequest({ key, room: 'public.bench', data: 'x'.repeat(bytes) });
  const stream = new Stream({ to: targets[0], request, listeners, connections, rate });
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

async function singles({ warm, count, rate }) {
  await running.drained;
  const room = 'public.bench';
  const send = broker && source ? await brokerSender(room) : openPoster(notifyRequest({ key, room }));
  const latencies = [];
  let arrived = () => {};
  running = { drained: Promise.resolve(), heard: () => arrived(performance.now()) };
  const before = mark(target);
  for (let n = 0; n < warm + count; n++) {
    const arrival = new Promise(resolve => {
      arrived = resolve;
    });
    const handedOver = performance.now();
    send();
    const latency = (await arrival) - handedOver;
    if (n >= warm) latencies.push(latency);
    await sleep(Math.max(0, 1000 / rate - latency));
  }
  return { ...usageSince(before, target), ...percentiles(latencies) };
}

async function join({ paths, rate }) {
  const before = mark(target);
  const framesBefore = framesHeard();
  const heard = (listener, count) => running.heard(listener, count);
  const { listeners: opened, seconds, latencies } = await joinAtRate({ port, paths, joined, heard, rate });
  listeners.push(...opened);
  const usage = usageSince(before, target);
  return { ...usage, ...percentiles(latencies), frames: framesHeard() - framesBefore, seconds };
}

async function churn({ paths, rate, stay, seconds }) {
  const before = mark(target);
  const framesBefore = framesHeard();
  const theirs = await comeAndGo({ port, paths, joined, rate, stay, seconds });
  return { ...usageSince(before, target), frames: framesHeard() - framesBefore + theirs };
}

function framesHeard() {
  return listeners.reduce((sum, { frames }) => sum + frames, 0);
}

async function hearJoins(options) {
  const before = mark(target);
  const latencies = await heardJoins({ port, watching: ports.at(-1), joined, ...options });
  return { ...usageSince(before, target), ...percentiles(latencies) };
}

async function ask({ paths, post, rate, connections }) {
  const requests =
    post === undefined ? paths.map(path => question(path, key)) : [notifyRequest({ key, room: post })];
  questions = new Questions({ to: targets, requests, rate, connections });
  return {};
}

async function asked() {
  await questions.stop();
  return percentiles(questions.latencies);
}

async function idle({ seconds }) {
  const before = mark(target);
  if (questions) questions.latencies = [];
  await sleep(seconds * 1000);
  return { ...usageSince(before, target), questions: questions?.latencies.length };
}

async function walk(options) {
  const before = mark(target);
  const { times, items } = await walkList({ port, key, ...options });
  return {
    ...usageSince(before, target),
    ...percentiles(times),
    first: times[0],
    pages: times.length,
    items,
  };
}

async function talk({ dialect, rooms, window, rate, warm, seconds }) {
  const talk = await Talk.open({ port, dialect, rooms });
  talk.flood(window);
  await sleep(warm * 1000);
  const before = mark(target);
  const completeBefore = talk.complete;
  await sleep(seconds * 1000);
  const flood = usageSince(before, target);
  const messages = talk.complete - completeBefore;
  await talk.quiet();
  await sleep(warm * 1000);
  talk.latencies = [];
  const beforeStream = mark(target);
  await talk.stream(rate, seconds);
  await talk.quiet();
  const stream = usageSince(beforeStream, target);
  talk.close();
  return {
    flood: { ...flood, messages },
    stream: { ...stream, messages: rate * seconds, ...percentiles(talk.latencies) },
  };
}

async function call({ through, connections, tokens, request, rate, warm, seconds, statusOf }) {
  const to = through === 'http' ? { url: broker.address, request } : { port, tokens };
  const callers = await Callers.open({ ...to, connections });
  callers.start(rate);
  await sleep(warm * 1000);
  callers.reset();
  const most = statusOf && mostAtOnce(new URL(statusOf, broker.address));
  const before = mark(target);
  await sleep(seconds * 1000);
  const usage = usageSince(before, target);
  const answered = [...callers.answered];
  const refused = [...callers.refused];
  await callers.stop();
  return {
    ...usage,
    calls: answered.length,
    refusals: refused.length,
    ...percentiles(answered),
    refused: percentiles(refused),
    most: await most?.(),
  };
}

async function drain({ warm, seconds }) {
  await begun(intake);
  const usage = await intakeDuring(warm, seconds);
  await sleep(seconds * 100);
  const { taken } = await intake();
  if (taken === usage.takenInAll) throw new Error('the broker was empty before the end: fill it with more');
  return usage;
}

async function flood({ pipelines, count, warm, seconds }) {
  const sender = await openSender(source, broker.address, notifyBody({ room: 'public.empty' }));
  const stop = keepSending(sender, { pipelines, count });
  await begun(intake);
  const usage = await intakeDuring(warm, seconds);
  await stop();
  return usage;
}

async function intakeDuring(warm, seconds) {
  await sleep(warm * 1000);
  const first = await intake();
  const before = mark(target);
  await sleep(seconds * 1000);
  const last = await intake();
  const usage = usageSince(before, target);
  return {
    ...usage,
    taken: last.taken - first.taken,
    dropped: last.dropped - first.dropped,
    takenInAll: last.taken,
  };
}

async function brokerSender(room) {
  const sender = await openSender(source, broker.address, notifyBody({ room }));
  return () => void sender.send(1);
}

function openPoster(request) {
  const publisher = openPublisher({ to: targets[0], request, answered() {} });
  return () => publisher.post();
}

function percentiles(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = share => sorted[Math.floor(sorted.length * share)];
  return { p50: at(0.5), p99: at(0.99) };
}
