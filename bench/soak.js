/**
 * npm run soak                     ten minutes that imitate good and bad days
 * npm run soak -- --minutes 60     longer; only then slow growth can be seen
 * npm run soak -- --attack         with attacks, which publishers must not notice
 *
 * The real server with the disk journal and a small retention, so that it always trims. Publishers repeat until they
 * are accepted. Listeners come back; some stop reading for a while, some come and go. All of them know what they must
 * hear. The server is ended again and again, half the time with kill -9, and started again with its files: a few short
 * lives, then a long one, in which growth is watched. Prints a line each minute and a verdict at the end. The exit code
 * is 1 if something is wrong. Ctrl-C ends it early, with a verdict.
 */
import { setMaxListeners } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Crowd } from './soak/crowd.js';
import { growthOf, isLongEnough } from './soak/growth.js';
import { Publisher } from './soak/publisher.js';
import { Server } from './soak/server.js';
import { Strangers } from './soak/strangers.js';
import { Wrongs } from './soak/wrongs.js';
import { count } from './table.js';

const PUBLISHERS = 8;
const RATE = 400; // a second, of all publishers
const SHORT_LIVES = 4; // before a long one, which so begins with a full past
const SHORT_SECONDS = [3, 12];
const LONG_SECONDS = [30, 600]; // a fifth of the run, within these
const SAMPLE_MS = 1_000;
const SETTLE_SECONDS = 60;
const TARGET_P99_MS = 250; // of a publish, under attack: a page does not notice that

const { values: options } = parseArgs({
  options: { minutes: { type: 'string', default: '10' }, attack: { type: 'boolean', default: false } },
});
const minutes = Number(options.minutes);
if (!(minutes > 0)) throw new Error('--minutes takes a number above 0');
const seconds = minutes * 60;
const [leastLong, mostLong] = LONG_SECONDS;
const longSeconds = Math.min(Math.max(seconds / 5, leastLong), mostLong);

const ending = new AbortController();
let interruptedAt;
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => {
    // npm repeats a Ctrl-C that came here already. Only a later one is another Ctrl-C.
    if (interruptedAt !== undefined && performance.now() - interruptedAt > 1_000) process.exit(1);
    interruptedAt ??= performance.now();
    ending.abort();
  });

const directory = mkdtempSync(join(tmpdir(), 'postroom-soak-'));
const wrongs = new Wrongs();
const server = await Server.start(directory, wrongs);
const crowd = new Crowd({ port: server.port, wrongs, publishers: PUBLISHERS });
const publishers = Array.from(
  { length: PUBLISHERS },
  (_, number) => new Publisher({ number, port: server.port, wrongs, rate: RATE / PUBLISHERS }),
);
const lives = [[]];
const stops = { SIGKILL: 0, SIGTERM: 0 };
const began = performance.now();
setTimeout(() => ending.abort(), seconds * 1000).unref();
process.once('uncaughtException', error => {
  wrongs.note('broken', error.message);
  verdict();
  process.exit(1);
});
console.log(
  `node ${process.version}, ${minutes} minutes${options.attack ? ', under attack' : ''}, ${directory}`,
);

await crowd.everybodyIsIn();
const published = Promise.all(publishers.map(publisher => publisher.run()));
crowd.stir();
const strangers = options.attack ? new Strangers({ port: server.port, wrongs }) : undefined;
const sampling = setInterval(() => sample(lives.at(-1)).catch(() => undefined), SAMPLE_MS);
const telling = setInterval(tell, 60_000);

for (let life = 0; !ending.signal.aborted; life++) {
  const isLong = life % (SHORT_LIVES + 1) === SHORT_LIVES;
  const [least, most] = SHORT_SECONDS;
  await pause(isLong ? longSeconds : least + Math.random() * (most - least));
  if (ending.signal.aborted) break;
  const signal = Math.random() < 0.5 ? 'SIGKILL' : 'SIGTERM';
  lives.push([]);
  await server.restart(signal);
  stops[signal]++;
}

clearInterval(telling);
await strangers?.stop();
await settle();
clearInterval(sampling);
tell();
await server.stop();
verdict();
process.exit(wrongs.any ? 1 : 0);

/** Changes nothing more. In the end everybody must have everything, and the server must have forgotten all clients. */
async function settle() {
  for (const publisher of publishers) publisher.stop();
  crowd.calm();
  const deadline = AbortSignal.timeout(SETTLE_SECONDS * 1000);
  setMaxListeners(0, deadline);
  const finished = await before(deadline, published);
  if (!finished) wrongs.note('stuck', `a publish was not accepted within ${SETTLE_SECONDS} s`);
  await before(deadline, crowd.everybodyIsIn());
  // One more notification from each publisher to everyone: a listener whose past is gone learns from it where it is.
  await before(deadline, Promise.all(publishers.map(publisher => publisher.publishLast())));
  const last = publishers.map(publisher => publisher.accepted - 1);
  if (!(await before(deadline, crowd.everybodyHas(last)))) crowd.noteWhatIsMissing(last);
  await crowd.leave();
  for (const publisher of publishers) publisher.close();
  while (!deadline.aborted && (await server.report()).connections > 0) await sleep(50);
  const { connections, users, rooms } = await server.report();
  if (connections + users + rooms > 0)
    wrongs.note('left over', `${connections} connections, ${users} users, ${rooms} rooms after all had left`);
}

async function sample(life) {
  const found = await server.sample();
  if (server.running) life.push(found);
}

function tell() {
  const { report, rssBytes, files } = lives.findLast(life => life.length > 0)?.at(-1) ?? {};
  if (report === undefined) return;
  const { p99, max } = report.eventLoopDelayMs;
  console.log(
    [
      `${((performance.now() - began) / 60_000).toFixed(1)} min`,
      `acknowledged ${count(accepted())}`,
      `delivered ${count(crowd.delivered)}`,
      `restarts ${stops.SIGKILL + stops.SIGTERM}`,
      `RSS ${Math.round(rssBytes / 2 ** 20)} MiB`,
      `descriptors ${files}`,
      `loop delay p99 ${p99} max ${max} ms`,
      `window ${count(report.journal.entries)} entries`,
      ...(wrongs.any ? [`WRONG: ${wrongs.summary()}`] : []),
    ].join(', '),
  );
}

function verdict() {
  const retries = publishers.reduce((sum, publisher) => sum + publisher.retries, 0);
  console.log(
    `\n${count(accepted())} acknowledged (${count(retries)} tried again), ${count(crowd.delivered)} delivered over ` +
      `${count(crowd.connections)} connections, ${stops.SIGKILL} × kill -9, ${stops.SIGTERM} × SIGTERM`,
  );
  for (const [number, life] of lives.entries()) {
    if (!isLongEnough(life)) continue;
    for (const { what, first, last, unit, grew } of growthOf(life, options)) {
      console.log(`life ${number + 1}: ${what} ${first} → ${last} ${unit}${grew ? ': GREW' : ''}`);
      if (grew) wrongs.note('grew', `${what} in life ${number + 1}: from ${first} to ${last} ${unit}`);
    }
  }
  if (!lives.some(isLongEnough)) console.log('no life was long enough to tell whether something grows');
  if (strangers !== undefined) tellOfAttack();
  console.log(`told that the past is gone after a long absence: ${crowd.pastGone}`);
  for (const what of ['lost', 'doubled', 'out of order']) console.log(`${what}: ${wrongs.count(what)}`);
  for (const line of wrongs.lines()) console.log(line);
  console.log(wrongs.any ? `\nWRONG: ${wrongs.summary()}; see ${directory}` : '\nall is well');
  if (!wrongs.any) rmSync(directory, { recursive: true, force: true });
}

function tellOfAttack() {
  const latencies = publishers.flatMap(publisher => publisher.latencies).sort((a, b) => a - b);
  const [p50 = 0, p99 = 0] = [0.5, 0.99].map(share => latencies[Math.floor(share * latencies.length)]);
  console.log(`attacks: ${strangers.summary()}`);
  console.log(
    `publish latency: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms (to be under ${TARGET_P99_MS} ms)`,
  );
  if (p99 >= TARGET_P99_MS) wrongs.note('slow', `p99 of a publish was ${p99.toFixed(1)} ms`);
}

function accepted() {
  return publishers.reduce((sum, publisher) => sum + publisher.accepted, 0);
}

/** Waits, but at most until the run ends. */
async function pause(duration) {
  await sleep(duration * 1000, undefined, { signal: ending.signal }).catch(() => undefined);
}

/** Whether something resolves before a deadline. */
function before(deadline, promise) {
  return new Promise((resolve, reject) => {
    if (deadline.aborted) resolve(false);
    deadline.addEventListener('abort', () => resolve(false));
    promise.then(() => resolve(true), reject);
  });
}
