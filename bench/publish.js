/** How many notifications a second can be published if nobody listens: the cost of publishing alone. */
import { ratioAtLeast } from './table.js';

const CONNECTIONS = 64;

export default {
  rows: {
    keepAlive: {
      label: `publishing, no listener, ${CONNECTIONS} keep-alive connections: publishes/s`,
      target: ratioAtLeast(3),
    },
    fresh: { label: 'publishing, no listener, a new connection each: publishes/s' },
    freshCpu: { label: 'publishing, no listener, a new connection each: server CPU, µs' },
  },

  async measure(load) {
    const window = { connections: CONNECTIONS, warm: 1, seconds: 1.5 };
    const keepAlive = await load.ask('publish', { ...window, keepAlive: true });
    const fresh = await load.ask('publish', { ...window, keepAlive: false });
    return {
      figures: {
        keepAlive: keepAlive.publishes / keepAlive.seconds,
        fresh: fresh.publishes / fresh.seconds,
        freshCpu: fresh.serverMicros / fresh.publishes,
      },
      usages: [keepAlive, fresh],
    };
  },
};
