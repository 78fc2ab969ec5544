/** Does the cost of a delivery stay flat while the room grows? */
import { openFilesLimit } from './proc.js';
import { roomPaths } from './rooms.js';
import { count } from './table.js';

const SIZES = [10, 100, 1_000, 10_000];
const MODES = { single: 1, storm: 64 };
const SPARE_FILES = 200;

export default {
  rows: Object.fromEntries(
    Object.entries(MODES).flatMap(([mode, window]) =>
      SIZES.map(size => [
        figureName(mode, size),
        { label: `${count(size)} listeners, ${window} in flight: server CPU, µs/delivery` },
      ]),
    ),
  ),

  needs() {
    if (openFilesLimit() < SIZES.at(-1) + SPARE_FILES) {
      return `${count(SIZES.at(-1))} connections need a higher hard limit of open files (ulimit -Hn)`;
    }
  },

  async measure(load) {
    const figures = {};
    const usages = [];
    let connected = 0;
    for (const size of SIZES) {
      await load.ask('connect', { paths: roomPaths(size - connected), together: 64 });
      connected = size;
      for (const [mode, window] of Object.entries(MODES)) {
        const run = await load.ask('fanout', { connections: window, window, warm: 0.5, seconds: 1 });
        figures[figureName(mode, size)] = run.serverMicros / run.deliveries;
        usages.push(run);
      }
    }
    return { figures, usages };
  },
};

function figureName(mode, size) {
  return `${mode}${size}`;
}
