/** What does one delivery cost, and how long does it take, if nothing can be joined? */
import { roomPaths } from './rooms.js';
import { count, ratioBelow } from './table.js';

const LISTENERS = 1_000;
const WHAT = `${count(LISTENERS)} listeners, one publish at a time`;

export default {
  rows: {
    cpu: { label: `${WHAT}: server CPU, µs/delivery`, target: ratioBelow(1) },
    p50: { label: `${WHAT}: publish to last delivery, p50 ms` },
    p99: { label: `${WHAT}: publish to last delivery, p99 ms` },
  },

  async measure(load) {
    await load.ask('connect', { paths: roomPaths(LISTENERS), together: 64 });
    const single = await load.ask('fanout', { connections: 1, window: 1, warm: 1, seconds: 2 });
    return {
      figures: { cpu: single.serverMicros / single.deliveries, p50: single.p50, p99: single.p99 },
      usages: [single],
    };
  },
};
