/**
 * node ack-memory.js '{ kind, count }'
 * Prints the bytes of memory that each of so many takes, as JSON. A process of its own, without sockets: nothing else
 * grows. No kind includes the connections.
 *
 *   plain         notifications to a room with one connection
 *   ack           the same with `ack`, which nobody acknowledges
 *   acknowledged  the same with `ack`, each acknowledged by the connection
 *   of-one        acknowledgements of one notification, from a connection each
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { setTimeout as sleep } from 'node:timers/promises';
import { wire } from '../dist/clients/postroom/wire.js';
import { LocalCluster } from '../dist/cluster/local.js';
import { Postroom } from '../dist/core/postroom.js';
import { MemoryJournal } from '../dist/journal/memory.js';
import { systemAfter, systemClock } from '../dist/model/clock.js';
import { notificationParser } from '../dist/model/notification.js';
import { Patterns } from '../dist/model/pattern.js';
import { MemoryStores } from '../dist/storage/memory.js';

const RETENTION = { seconds: 3600, bytes: 1024 ** 3 };
const WARM_UP = 1_000;
const PART = 200;
// One frame fills the cache of frames, so that it is emptied at once and does not count.
const FRAME = Buffer.alloc(4 * 1024 * 1024 + 1);
const uncached = { ...wire, notification: () => FRAME };
const peer = { address: '192.0.2.1', userAgent: undefined };
const socket = { waiting: 0, write: (_bytes, taken) => taken && setImmediate(taken), close() {} };

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');
const { kind, count } = JSON.parse(process.argv[2]);
const parse = notificationParser({
  maxBytes: 65_536,
  retentionSeconds: RETENTION.seconds,
  now: () => systemClock.now(),
});

const postroom = new Postroom({
  journal: new MemoryJournal(RETENTION, systemClock),
  cluster: new LocalCluster({ node: 'one', report: () => '0 0 0', log: undefined }),
  retention: RETENTION,
  maxBufferedBytes: 64 * 1024 * 1024,
  isShared: false,
  presence: { rooms: new Patterns([]), graceMs: 3000, maxMembers: 1000 },
  stores: new MemoryStores(),
  clock: systemClock,
  after: systemAfter,
  failed(error) {
    throw error;
  },
});
await postroom.start();

const fills = {
  async 'of-one'(many) {
    const room = `public.${many}`;
    const connections = [];
    for (let n = 0; n < many; n++) {
      connections.push(connect(room));
      if (n % PART === 0) await turn();
    }
    const { id } = await publish(room, { ack: 3600 });
    await turn();
    const before = await memory();
    for (const connection of connections) postroom.receipts.acknowledge(connection, id);
    const bytes = (await memory()) - before;
    check(postroom.receipts.of(id).acknowledged.size, many);
    return bytes;
  },
  plain: many => notifications(many, {}, false),
  ack: many => notifications(many, { ack: 3600 }, false),
  acknowledged: many => notifications(many, { ack: 3600 }, true),
};

await fills[kind](WARM_UP);
console.log(JSON.stringify({ bytes: (await fills[kind](count)) / count }));
process.exit();

async function notifications(many, fields, acknowledged) {
  const room = `public.${many}`;
  const connection = connect(room);
  const before = await memory();
  let done = 0;
  for (let n = 0; n < many; n++) {
    const { id } = await publish(room, fields);
    await turn();
    if (acknowledged) postroom.receipts.acknowledge(connection, id);
    if ((postroom.receipts.of(id)?.acknowledged.size ?? 0) === 1) done++;
  }
  check(done, acknowledged ? many : 0);
  return (await memory()) - before;
}

function connect(room) {
  const { connection } = postroom.connect(socket, uncached, { user: undefined, peer, rooms: [room] });
  return connection;
}

function publish(room, fields) {
  const data = { order: 4711, total: '129.90', currency: 'EUR', paid: true };
  const { items } = parse(JSON.stringify({ room, event: 'order.paid', data, ...fields }));
  const [notification] = [...items];
  return postroom.publish(notification);
}

function check(found, expected) {
  if (found !== expected) throw new Error(`${found} acknowledged, not ${expected}`);
}

function turn() {
  return new Promise(resolve => setImmediate(resolve));
}

/** In a turn of its own: V8 may keep values until the turn ends. */
async function memory() {
  await sleep(1_500);
  for (let twice = 0; twice < 2; twice++) gc();
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
}
