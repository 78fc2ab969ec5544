/** How much memory does a connection take that sends and gets nothing? */
import { openFilesLimit, settledKiB } from './proc.js';
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
    const before = await settledKiB(server.pid);
    await load.ask('connect', { paths: roomPaths(CONNECTIONS), together: 64 });
    const after = await settledKiB(server.pid);
    return { figures: { rss: (after - before) / CONNECTIONS }, usages: [] }; // other programs cost no memory
  },
};
