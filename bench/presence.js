/** What does presence cost: while a room grows, for each member that is kept, and while members come and go? */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openFilesLimit } from './proc.js';
import { atMost, count } from './table.js';
import { userPaths, usersNamed } from './tokens.js';

const run = promisify(execFile);
const ROOM = 'presence.bench';
const RATE = 1_000;
const LIMIT = 1_000; // MAX_PRESENCE_MEMBERS by default
const MEMBERS = 10_000;
const SPARE_FILES = 200;
// The bound of every turn of the event loop.
const TURN_MS = 20;
const BESIDE_NONE = { baseline: 'no-presence', postroom: 'postroom' };
const GROWTH = `${count(RATE)} joins/s, beside a room that is no presence room`;
const SECONDS = 5;

export default {
  growth: {
    servers: BESIDE_NONE,
    probed: true,
    rows: {
      ...costs('below', `${GROWTH}; 0 to ${count(LIMIT)} members`),
      ...costs('above', `${GROWTH}; ${count(LIMIT)} to ${count(MEMBERS)} members`),
    },
    needs() {
      if (openFilesLimit() < MEMBERS + SPARE_FILES)
        return `${count(MEMBERS)} members need a higher hard limit of open files (ulimit -Hn)`;
    },
    async measure(load, server) {
      await warmUp(load, server);
      const paths = userPaths(usersNamed('u', MEMBERS), ROOM);
      const below = await load.ask('join', { paths: paths.slice(0, LIMIT), rate: RATE });
      const belowTurns = await server.probe('turns');
      const above = await load.ask('join', { paths: paths.slice(LIMIT), rate: RATE });
      const aboveTurns = await server.probe('turns');
      const figures = { ...costsOf('below', below, belowTurns), ...costsOf('above', above, aboveTurns) };
      return { figures, usages: [below, above] };
    },
  },

  // The worst: each of them is told by name.
  churn: churning('no grace: all are told by name', { grace: 0, users: 2_000, members: 500 }),
  // Their grace makes them more than the limit.
  'churn-grace': churning('3 s of grace: so they are told by count', {
    grace: 3,
    users: 10_000,
    members: 500,
  }),
  // As if people went from page to page. They are fewer, so that all together are below the limit.
  pages: churning('3 s of grace, and the same 400 users again and again', {
    grace: 3,
    users: 400,
    members: 500,
  }),

  memory: {
    // Not used: the memory is measured in other processes.
    servers: BESIDE_NONE,
    rows: Object.fromEntries(
      [10_000, 100_000].flatMap(members =>
        [members, 10].flatMap(size => [
          [
            `own${members}/${size}`,
            { label: `${bytesOf(members, size)}, connection included, beside no member` },
          ],
          [
            `copy${members}/${size}`,
            { label: `${bytesOf(members, size)}, on another node, beside a plain Map` },
          ],
        ]),
      ),
    ),
    async measure(_load, _server, side) {
      const figures = {};
      for (const members of [10_000, 100_000]) {
        for (const size of [members, 10]) {
          const [own, copy] = side === 'baseline' ? ['connections', 'map'] : ['members', 'copy'];
          figures[`own${members}/${size}`] = await bytesEach({ kind: own, members, size });
          figures[`copy${members}/${size}`] = await bytesEach({ kind: copy, members, size });
        }
      }
      return { figures, usages: [] };
    },
  },

  'other-node': hearing(10, 60),
  'other-node-busy': hearing(100, 600),
};

function bytesOf(members, size) {
  return `${count(members)} members with 100 bytes of info, in rooms of ${count(size)}: bytes each`;
}

async function bytesEach(options) {
  const program = fileURLToPath(new URL('presence-memory.js', import.meta.url));
  const { stdout } = await run(process.execPath, [program, JSON.stringify(options)]);
  return JSON.parse(stdout).bytes;
}

function churning(how, { grace, users, members }) {
  const what = `${count(RATE)} joins and leaves/s in a room of ${members}, ${how}`;
  return {
    servers: BESIDE_NONE,
    probed: true,
    settings: { PRESENCE_GRACE_SECONDS: `${grace}` },
    rows: costs('churn', what),
    async measure(load, server) {
      await warmUp(load, server);
      await load.ask('join', { paths: userPaths(usersNamed('m', members), ROOM), rate: RATE });
      const paths = userPaths(usersNamed('c', users), ROOM);
      const options = { paths, rate: RATE, stay: 200 };
      await load.ask('churn', { ...options, seconds: 1 });
      await server.probe('turns');
      const churn = await load.ask('churn', { ...options, seconds: SECONDS });
      const turns = await server.probe('turns');
      return { figures: costsOf('churn', churn, turns), usages: [churn] };
    },
  };
}

/** For the compiler's optimizations. */
async function warmUp(load, server) {
  await load.ask('join', { paths: userPaths(usersNamed('w', 500), 'presence.warm'), rate: RATE });
  await server.probe('turns');
}

function costs(part, what) {
  return {
    [`${part}Frames`]: { label: `${what}: frames/s` },
    [`${part}Bytes`]: { label: `${what}: written, MB/s` },
    [`${part}Writes`]: { label: `${what}: writes/s` },
    [`${part}Cpu`]: { label: `${what}: server CPU, %` },
    ...(part !== 'churn' && { [`${part}P99`]: { label: `${what}: connection to "subscribed", p99 ms` } }),
    [`${part}Turn`]: { label: `${what}: longest turn, ms of CPU`, target: atMost(TURN_MS) },
    [`${part}Late`]: { label: `${what}: longest turn, ms by the clock` },
  };
}

function costsOf(part, usage, turns) {
  const { seconds, frames, bytes, writes, serverMicros, p99 } = usage;
  return {
    [`${part}Frames`]: frames / seconds,
    [`${part}Bytes`]: bytes / seconds / 1e6,
    [`${part}Writes`]: writes / seconds,
    [`${part}Cpu`]: serverMicros / seconds / 1e4,
    ...(part !== 'churn' && { [`${part}P99`]: p99 }),
    [`${part}Turn`]: turns.cpu,
    [`${part}Late`]: turns.turn,
  };
}

function hearing(rate, joins) {
  const what = `${rate}/s on another node: from the connection to "joined", beside publish to delivery`;
  return {
    // In the baseline's place: notifications between the same nodes.
    servers: { baseline: 'redis-2', postroom: 'redis-2' },
    rows: { p50: { label: `${what}, p50 ms` }, p99: { label: `${what}, p99 ms` } },
    async measure(load, { pids }, side) {
      const warm = Math.floor(joins / 6);
      let usage;
      if (side === 'baseline') {
        await load.ask('connect', { paths: ['/ws?room=public.bench'], together: 1, node: pids.length - 1 });
        usage = await load.ask('singles', { warm, count: joins - warm, rate });
      } else {
        const users = usersNamed('u', joins);
        const [watcher] = userPaths(['watcher'], ROOM);
        usage = await load.ask('hearJoins', { users, paths: userPaths(users, ROOM), watcher, rate, warm });
      }
      return { figures: { p50: usage.p50, p99: usage.p99 }, usages: [usage] };
    },
  };
}
