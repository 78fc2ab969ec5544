/** How long is the server away after kill -9, if it loads a long past from the disk? In the baseline's place: none. */
import { fill, retained } from './fill.js';
import { atMost, count } from './table.js';

const RETAINED = { baseline: 0, postroom: 100_000 };
const DATA = 'x'.repeat(150);

export default {
  servers: { baseline: 'disk', postroom: 'disk' },
  settings: { RETENTION_BYTES: `${256 * 1024 * 1024}`, RETENTION_SECONDS: '86400' },

  rows: {
    seconds: {
      label: `restart with ${count(RETAINED.postroom)} retained, beside none: spawn to ready, s`,
      target: atMost(3),
    },
  },

  async measure(_load, server, side) {
    const notifications = Array.from({ length: RETAINED[side] }, (_, n) => ({
      room: `public.orders.${n % 1_000}`,
      event: 'order.paid',
      data: DATA,
    }));
    await fill(server, notifications);
    const seconds = await server.restart();
    const found = await retained(server);
    if (found !== notifications.length)
      throw new Error(`${found} of ${notifications.length} were found again`);
    // A process of its own checks the file. It would count as other programs' CPU.
    return { figures: { seconds }, usages: [] };
  },
};
