/** How many deliveries a second are there if a thousand listen to one room and publishing never pauses? */
import { roomPaths } from './rooms.js';
import { count, ratioAtLeast } from './table.js';

const LISTENERS = 1_000;
const IN_FLIGHT = 64;
// The slowest listener may be so far behind. It is twice what is in flight, so that new notifications come in while the
// last are still being written. With no more than that, each side would wait for the other.
const UNDELIVERED = 2 * IN_FLIGHT;

export default {
  rows: {
    deliveries: {
      label: `${count(LISTENERS)} listeners, ${IN_FLIGHT} publishes in flight: deliveries/s`,
      target: ratioAtLeast(25),
    },
  },

  async measure(load) {
    await load.ask('connect', { paths: roomPaths(LISTENERS), together: 64 });
    const storm = await load.ask('fanout', {
      connections: IN_FLIGHT,
      window: UNDELIVERED,
      warm: 1,
      seconds: 2,
    });
    return { figures: { deliveries: storm.deliveries / storm.seconds }, usages: [storm] };
  },
};
