/** What durability costs: Postroom with the disk journal, and in the baseline's place Postroom with the memory journal. */
import publish from './publish.js';
import storm from './storm.js';
import { ratioAtLeast } from './table.js';

export default {
  servers: { baseline: 'postroom', postroom: 'disk' },

  rows: {
    deliveries: {
      label: 'disk journal beside memory journal, storm: deliveries/s',
      target: ratioAtLeast(0.7),
    },
    keepAlive: { label: 'disk journal beside memory journal: publishes/s', target: ratioAtLeast(0.75) },
  },

  async measure(load) {
    const published = await publish.measure(load);
    const stormed = await storm.measure(load);
    return {
      figures: { ...stormed.figures, ...published.figures },
      usages: [...stormed.usages, ...published.usages],
    };
  },
};
