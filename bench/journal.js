/** What does durability cost? Postroom with the disk journal; in the baseline's place, with the memory journal. */
import publish from './publish.js';
import storm from './storm.js';
import { ratioAtLeast } from './table.js';

// So many share one flush. With few in flight, the disk's latency is measured.
const MANY = 256;

export default {
  servers: { baseline: 'postroom', postroom: 'disk' },

  rows: {
    deliveries: {
      label: 'disk journal beside memory journal, storm: deliveries/s',
      target: ratioAtLeast(0.7),
    },
    keepAlive: {
      label: 'disk journal beside memory journal, 64 in flight: publishes/s',
      target: ratioAtLeast(0.75),
    },
    many: {
      label: `disk journal beside memory journal, ${MANY} in flight: publishes/s`,
      target: ratioAtLeast(0.75),
    },
  },

  async measure(load) {
    const published = await publish.measure(load);
    const many = await load.ask('publish', { connections: MANY, warm: 1, seconds: 1.5, keepAlive: true });
    const stormed = await storm.measure(load);
    return {
      figures: { ...stormed.figures, ...published.figures, many: many.publishes / many.seconds },
      usages: [...stormed.usages, ...published.usages, many],
    };
  },
};
