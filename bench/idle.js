/** How much memory does a connection take that sends and gets nothing? */
import { setTimeout as sleep } from 'node:timers/promises';
import { openFilesLimit, rssKiB } from './proc.js';
import { roomPaths } from './rooms.js';
import { atMost, count } from './table.js';

const CONNECTIONS = 10_000;
const SPARE_FILES = 200;

export default {
  rows: {
    rss: {
      label: `${count(CONNECTIONS)} idle connections: server RSS, KiB/connection`,
      target: atMost(8),
    },
  },

  needs() {
    if (openFilesLimit() < CONNECTIONS + SPARE_FILES) {
      return `${count(CONNECTIONS)} connections need a higher hard limit of open files (ulimit -Hn)`;
    }
  },

  async measure(load, server) {
    const before = await settledRss(server.pid);
    await load.ask('connect', { paths: roomPaths(CONNECTIONS), together: 64 });
    const after = await settledRss(server.pid);
    return { figures: { rss: (after - before) / CONNECTIONS }, usages: [] }; // other programs cost no memory
  },
};

/** RSS in KiB, when it has moved by less than half a percent for a second and a half; after 10 s in any case. */
async function settledRss(pid) {
  const seen = [];
  for (let tries = 0; tries < 40; tries++) {
    await sleep(250);
    seen.push(rssKiB(pid));
    const last = seen.slice(-6);
    if (last.length === 6 && Math.max(...last) < Math.min(...last) * 1.005) break;
  }
  return seen.at(-1);
}
