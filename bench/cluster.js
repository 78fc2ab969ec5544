/** What does it cost to share a journal in Redis, and what does one such stream carry? */
import { Redis } from 'ioredis';
import { fill } from './fill.js';
import { roomPaths } from './rooms.js';
import storm from './storm.js';
import { count, ratioAtLeast } from './table.js';

const LISTENERS = 1_000; // of each node
const NODES = 3;
const IN_FLIGHT = 64;
const MANY = 256;
const KEPT = 100_000;
const SPREAD = `${NODES} nodes with ${count(LISTENERS)} listeners and ${IN_FLIGHT} in flight each, beside one`;
const FROM_ELSEWHERE = 'published on another node, beside a single one (Redis journal)';
const STREAM = 'Redis journal, no listener, two nodes at once beside one';

export default {
  storm: stormBesideDisk('redis', ''),
  'storm-unpinned': stormBesideDisk('redis-unpinned', ', Redis on whichever core'),

  nodes: {
    servers: { baseline: 'redis', postroom: `redis-${NODES}` },
    rows: {
      deliveries: { label: `${SPREAD}: deliveries/CPU second of the nodes`, target: ratioAtLeast(0.8) },
      broker: { label: `${SPREAD}: redis-server's CPU, µs/publish` },
    },
    async measure(load, { pids }) {
      const listeners = LISTENERS * pids.length;
      await load.ask('connect', { paths: roomPaths(listeners), together: 64 });
      // Each node has its own publishers, as many as the single node.
      const connections = IN_FLIGHT * pids.length;
      // The nodes share a core, and each has its own code to compile first.
      const times = { warm: 2 * pids.length, seconds: pids.length };
      const usage = await load.ask('fanout', { connections, window: 2 * connections, ...times });
      const { deliveries, serverMicros, brokerMicros } = usage;
      return {
        figures: {
          deliveries: deliveries / (serverMicros / 1e6),
          broker: brokerMicros / (deliveries / listeners),
        },
        usages: [usage],
      };
    },
  },

  'other-node': {
    servers: { baseline: 'redis', postroom: 'redis-2' },
    rows: {
      p50: { label: `${count(LISTENERS)} listeners, ${FROM_ELSEWHERE}: publish to last delivery, p50 ms` },
      p99: { label: `${count(LISTENERS)} listeners, ${FROM_ELSEWHERE}: publish to last delivery, p99 ms` },
    },
    async measure(load, { pids }) {
      await load.ask('connect', { paths: roomPaths(LISTENERS), together: 64, node: pids.length - 1 });
      const single = { connections: 1, window: 1, warm: 1, seconds: 2, node: 0 };
      const usage = await load.ask('fanout', single);
      return { figures: { p50: usage.p50, p99: usage.p99 }, usages: [usage] };
    },
  },

  stream: {
    servers: { baseline: 'redis', postroom: 'redis-2' },
    rows: Object.fromEntries(
      [IN_FLIGHT, MANY].flatMap(connections => [
        [`rate${connections}`, { label: `${STREAM}, ${connections} in flight: publishes/s` }],
        [
          `broker${connections}`,
          { label: `${STREAM}, ${connections} in flight: redis-server's CPU, µs/publish` },
        ],
        [
          `share${connections}`,
          { label: `${STREAM}, ${connections} in flight: redis-server's share of a core, %` },
        ],
      ]),
    ),
    async measure(load) {
      const figures = {};
      const usages = [];
      for (const connections of [IN_FLIGHT, MANY]) {
        const usage = await load.ask('publish', { connections, keepAlive: true, warm: 1, seconds: 1.5 });
        figures[`rate${connections}`] = usage.publishes / usage.seconds;
        figures[`broker${connections}`] = usage.brokerMicros / usage.publishes;
        figures[`share${connections}`] = usage.brokerShare * 100;
        usages.push(usage);
      }
      return { figures, usages };
    },
  },

  memory: {
    servers: { baseline: 'redis', postroom: 'redis' },
    rows: {
      bytes: {
        label: `${count(KEPT)} notifications kept, with an idempotency key beside without: memory of Redis, bytes each`,
      },
    },
    async measure(_load, server, side) {
      const before = await usedMemory(server.broker);
      await fill(
        server,
        Array.from({ length: KEPT }, (_, n) => notification(side === 'postroom' ? n : undefined)),
      );
      const after = await usedMemory(server.broker);
      return { figures: { bytes: (after - before) / KEPT }, usages: [] };
    },
  },
};

function stormBesideDisk(server, where) {
  const label = `Redis journal beside disk journal${where}, storm: deliveries/s`;
  return {
    ...storm,
    servers: { baseline: 'disk', postroom: server },
    rows: { deliveries: { label, target: ratioAtLeast(0.6) } },
  };
}

/** The notification that the load publishes. */
function notification(number) {
  return {
    room: 'public.empty',
    event: 'order.paid',
    data: { order: 4711, total: '129.90', currency: 'EUR', paid: true },
    ...(number !== undefined && { key: `order-${number}` }),
  };
}

async function usedMemory({ address }) {
  const client = new Redis(address);
  const told = await client.info('memory');
  await client.quit();
  return Number(/^used_memory:(\d+)/m.exec(told)[1]);
}
