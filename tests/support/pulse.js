/**
 * Asks GET /health/live again and again, in a process of its own, so that what the attackers do is not in its figures.
 * Each question leaves when it is due, whether the ones before were answered or not: a server that stands still for a
 * second is late for all of that second.
 */
import { Agent, request } from 'node:http';

const [port, everyMs] = process.argv.slice(2).map(Number);
const agent = new Agent({ keepAlive: true });
const beats = [];
let underWay = 0;
let stopped = false;

const asking = setInterval(ask, everyMs);
process.once('message', () => {
  clearInterval(asking);
  stopped = true;
  tellIfDone();
});
process.once('disconnect', () => process.exit());

function ask() {
  const began = performance.now();
  const at = Date.now();
  underWay++;
  const done = ok => {
    beats.push({ at, took: performance.now() - began, ok });
    if (beats.length === 1) process.send('beating');
    underWay--;
    tellIfDone();
  };
  request({ host: '127.0.0.1', port, path: '/health/live', agent })
    .on('error', () => done(false))
    .on('response', response => response.resume().on('end', () => done(response.statusCode === 200)))
    .end();
}

function tellIfDone() {
  if (stopped && underWay === 0) process.send(beats, () => process.exit());
}
