/**
 * How many notifications a second does each way in take, if there is no end of them? In the baseline's place: HTTP, 64
 * keep-alive connections, with the same journal. The brokers are filled before the server is started. Its health report
 * is read twice: after a second to warm up, as for HTTP, and at the end.
 */
import { notifyBody } from './load/publisher.js';
import { fillBroker } from './load/senders.js';
import { SERVERS } from './servers.js';
import { ratioAtLeast } from './table.js';

const WAITING = 200_000;
const WINDOW = { warm: 1, seconds: 1.5 };
const CONNECTIONS = 64;
const FLOOD = { pipelines: 4, count: 64 };
const PUBSUB = `Redis Pub/Sub, ${FLOOD.pipelines * FLOOD.count} publishes in flight`;
const AS_FAST = ratioAtLeast(1);

export default {
  socket: question('socket', 'Unix socket, 64 keep-alive connections', undefined, post),
  pubsub: question('pubsub', PUBSUB, undefined, flood, {
    dropped: { label: `${PUBSUB}: dropped/s` },
  }),
  stream: question('stream', 'Redis Stream', AS_FAST, drain),
  rabbitmq: question('rabbitmq', 'RabbitMQ', AS_FAST, drain),
  kafka: question('kafka', 'Kafka', AS_FAST, drain),
};

function question(server, label, target, take, more = {}) {
  const { source } = SERVERS[server];
  return {
    servers: { baseline: 'disk', postroom: server },

    rows: {
      rate: { label: `${label}, beside HTTP keep-alive: notifications taken/s`, target },
      cpu: { label: `${label}, beside HTTP keep-alive: server CPU, µs/notification` },
      ...more,
    },

    async prepare({ address }) {
      if (take === drain) await fillBroker(source, address, notifyBody({ room: 'public.empty' }), WAITING);
    },

    async measure(load, _server, side) {
      const usage = await (side === 'baseline' ? post : take)(load);
      const { taken, dropped = 0, seconds, serverMicros } = usage;
      return {
        figures: {
          rate: taken / seconds,
          cpu: serverMicros / taken,
          ...(more.dropped && { dropped: dropped / seconds }),
        },
        usages: [usage],
      };
    },
  };
}

async function post(load) {
  const usage = await load.ask('publish', { ...WINDOW, connections: CONNECTIONS, keepAlive: true });
  return { ...usage, taken: usage.publishes };
}

function drain(load) {
  return load.ask('drain', WINDOW);
}

function flood(load) {
  return load.ask('flood', { ...WINDOW, ...FLOOD });
}
