/**
 * How long does one notification take by each way in, from the publisher's client library to a listener? In the
 * baseline's place: by HTTP, on a kept connection. Always with the disk journal: its flush is included.
 */
import { roomPaths } from './rooms.js';

const RATE = 50;
const SINGLES = { warm: 50, count: 300, rate: RATE };

export default {
  socket: question('socket', 'Unix socket'),
  pubsub: question('pubsub', 'Redis Pub/Sub'),
  stream: question('stream', 'Redis Stream'),
  rabbitmq: question('rabbitmq', 'RabbitMQ'),
  kafka: question('kafka', 'Kafka'),
};

function question(server, label) {
  const what = `${label}, beside HTTP, one at a time, ${RATE}/s: publish to delivery`;
  return {
    servers: { baseline: 'disk', postroom: server },

    rows: { p50: { label: `${what}, p50 ms` }, p99: { label: `${what}, p99 ms` } },

    async measure(load) {
      await load.ask('connect', { paths: roomPaths(1), together: 1 });
      const singles = await load.ask('singles', SINGLES);
      return { figures: { p50: singles.p50, p99: singles.p99 }, usages: [singles] };
    },
  };
}
