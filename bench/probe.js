/**
 * Runs inside a server that is measured (`node --import`), and answers on a Unix socket `probe-PORT` in the server's
 * directory:
 *
 *   turns    the longest turn of the event loop since the last time, in ms: by the clock, and in CPU time
 *   memory   bytes of memory after all garbage is collected
 *
 * Other programs on the same core make a turn longer by the clock, but not in CPU time.
 */
import { createServer } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const EVERY_MS = 2;

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');
let last = { at: performance.now(), cpu: process.cpuUsage() };
let longest = { turn: 0, cpu: 0 };

/** A timer is late by the rest of the turn in which it is due. */
function look() {
  const now = performance.now();
  const { user, system } = process.cpuUsage(last.cpu);
  const late = now - last.at - EVERY_MS;
  const cpu = Math.min(late, (user + system) / 1000);
  if (late > longest.turn) longest.turn = late;
  if (cpu > longest.cpu) longest.cpu = cpu;
  last = { at: now, cpu: process.cpuUsage() };
}

const answers = {
  turns() {
    const answer = longest;
    longest = { turn: 0, cpu: 0 };
    return answer;
  },

  memory() {
    for (let twice = 0; twice < 2; twice++) gc();
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    last = { at: performance.now(), cpu: process.cpuUsage() }; // this turn does not count
    return { bytes: heapUsed + external + arrayBuffers };
  },
};

setInterval(look, EVERY_MS).unref();
createServer(socket => {
  socket.once('data', command => socket.end(JSON.stringify(answers[command]())));
})
  .listen(`probe-${process.env.PORT}`)
  .unref();
