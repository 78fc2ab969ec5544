/**
 * node --expose-gc memory-taken.js CONTENTS
 * Prints the memory of the window and the bytes that it counts, as JSON. A process of its own, so nothing else grows.
 */
import { Window } from '../../dist/core/window.js';
import { formatId, IdClock } from '../../dist/model/id.js';
import { notificationParser } from '../../dist/model/notification.js';

const AMPLE = { seconds: 86_400, bytes: 2 ** 40 };
const parse = notificationParser({ maxBytes: 8 * 1024 * 1024, retentionSeconds: 600, now: Date.now });
const clock = new IdClock({ now: Date.now, elapsed: () => performance.now() }, { time: 0, sequence: 0 });

/** Takes bodies as they come from the network. */
function fill(window, contents) {
  for (const content of contents) {
    let number = 0;
    for (let bytes = 0; bytes < content.total; number++) {
      const body = Buffer.from(bodyOf(content, number));
      bytes += body.length;
      for (const item of parse(body.toString()).items) {
        // A Problem has no addresses.
        if (item.addresses === undefined) continue;
        const moment = clock.next();
        window.add({ ...moment, id: formatId(moment), notification: item });
      }
    }
  }
}

function bodyOf(content, number) {
  if (content.items === 1) return itemOf(content, `${number}`, true);
  const items = Array.from({ length: content.items }, (_, index) =>
    itemOf(content, `${number}:${index}`, index < content.good),
  );
  return `[${items.join()}]`;
}

function itemOf({ unit, length, space, rooms, room, key }, name, good) {
  const names = Array.from({ length: rooms }, (_, index) => `${room}${index}`);
  const fields = {
    rooms: good ? names : ['not a room'],
    event: 'order.paid',
    key: key === 0 ? undefined : name.padEnd(key, 'k'),
  };
  const blank = ' '.repeat(space);
  return `{${blank}"data":${blank}"${name} ${unit.repeat(length)}",${JSON.stringify(fields).slice(1)}`;
}

/** The memory after all garbage is collected. */
function taken() {
  // V8 keeps the last text that a regular expression searched.
  parse('{"room":"a","event":"e"}');
  for (let twice = 0; twice < 2; twice++) globalThis.gc();
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
}

/** Compiles and makes everything that is made only once: it does not belong to the window. */
function warmUp(contents) {
  const little = contents.map(content => ({ ...content, total: 1 }));
  fill(new Window(AMPLE, Date.now), little);
}

const contents = JSON.parse(process.argv[2] ?? '[]');
// Each in its own turn: V8 may keep values until the turn ends.
await turn(() => warmUp(contents));
const before = await turn(taken);
const window = new Window(AMPLE, Date.now);
await turn(() => fill(window, contents));
const after = await turn(taken);
console.log(JSON.stringify({ taken: after - before, counted: window.bytes, entries: window.entries }));

function turn(work) {
  return new Promise(resolve => setImmediate(() => resolve(work())));
}
