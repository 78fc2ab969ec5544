/** How long is it away after kill -9, with a long past on the disk to take up again? In the baseline's place: with none. */
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
    // Its check of the file is a process of its own and would count as somebody else's doing.
    return { figures: { seconds }, usages: [] };
  },
};
