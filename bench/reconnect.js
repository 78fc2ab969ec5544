/**
 * What does it cost if all clients come back at once and want what they missed? In the baseline's place: the same
 * clients, which want nothing. On both sides, nobody works in a part of the seconds: the kernel drops clients that do
 * not fit into the listen queue, and they try again after one second, then two.
 */
import { fill } from './fill.js';
import { openFilesLimit } from './proc.js';
import { count } from './table.js';

const ROOMS = 100;
const CLIENTS_PER_ROOM = 100;
const MISSED = 100;
const CLIENTS = ROOMS * CLIENTS_PER_ROOM;
const SPARE_FILES = 200;
const WHAT = `${count(CLIENTS)} reconnect at once, each with ${MISSED} missed, beside without since`;

export default {
  servers: { baseline: 'disk', postroom: 'disk' },

  rows: {
    seconds: { label: `${WHAT}: until the last has everything, s` },
    cpu: { label: `${WHAT}: server CPU, µs/client` },
  },

  needs() {
    if (openFilesLimit() < CLIENTS + SPARE_FILES) {
      return `${count(CLIENTS)} connections need a higher hard limit of open files (ulimit -Hn)`;
    }
  },

  async measure(load, server, side) {
    const [since] = await fill(server, [{ room: room(0), event: 'order.paid' }]);
    // The rooms take turns: a client's hundred are spread over all ten thousand.
    const missed = Array.from({ length: ROOMS * MISSED }, (_, n) => ({
      room: room(n % ROOMS),
      event: 'order.paid',
      data: { number: Math.floor(n / ROOMS), order: 4711, total: '129.90', currency: 'EUR', paid: true },
    }));
    await fill(server, missed);
    const comesBack = side === 'postroom';
    const paths = Array.from(
      { length: CLIENTS },
      (_, n) => `/ws?room=${room(n % ROOMS)}${comesBack ? `&since=${since}` : ''}`,
    );
    // The run ends at a refusal, at a notification too few or too many, or at a duplicate.
    const usage = await load.ask('reconnect', { paths, missed: comesBack ? MISSED : 0 });
    return { figures: { seconds: usage.seconds, cpu: usage.serverMicros / CLIENTS }, usages: [usage] };
  },
};

function room(number) {
  return `public.orders.${number}`;
}
