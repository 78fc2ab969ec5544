/** Do listeners that stop reading slow down the others? In the baseline's place: nobody stops. */
import { rssKiB } from './proc.js';
import { roomPaths } from './rooms.js';
import { count } from './table.js';

const READING = 100;
const STALLED = { baseline: 0, postroom: 500 };
const RATE = 500;
const BYTES = 1_000;
// Until the kernel and the server can hold no more for them: some 4 MB each.
const FILL_SECONDS = 10;
const WHAT = `${READING} listeners, ${count(RATE)}/s of 1 KB, beside ${STALLED.postroom} that stopped reading and none`;

export default {
  servers: { baseline: 'disk', postroom: 'disk' },

  rows: {
    p50: { label: `${WHAT}: publish to delivery, p50 ms` },
    p99: { label: `${WHAT}: publish to delivery, p99 ms` },
    rss: { label: `${WHAT}: server RSS growth, MiB` },
  },

  async measure(load, server, side) {
    const stalled = STALLED[side];
    await load.ask('connect', { paths: roomPaths(READING + stalled), together: 64 });
    if (stalled > 0) await load.ask('stall', { count: stalled });
    const before = rssKiB(server.pid);
    const stream = await load.ask('stream', {
      connections: 16,
      rate: RATE,
      bytes: BYTES,
      warm: FILL_SECONDS,
      seconds: 5,
    });
    const after = rssKiB(server.pid);
    await load.ask('catchUp'); // nobody was closed, and nobody misses anything
    return {
      figures: { p50: stream.p50, p99: stream.p99, rss: (after - before) / 1024 },
      usages: [stream],
    };
  },
};
