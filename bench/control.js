/** What do questions cost: the answer itself, others beside it, and lists that are long? */
import { openFilesLimit } from './proc.js';
import { atMost, count, ratioAtLeast, ratioBelow } from './table.js';
import { userPaths, usersNamed } from './tokens.js';

const LISTENERS = 1_000;
const USERS = 1_000;
const QUESTIONS = 1_000;
const RATE = 200;
const ASKING = { rate: QUESTIONS, connections: 16 };
const USER_PATHS = usersNamed('u', USERS).map(user => `/users/${user}`);
const BESIDE = `${count(LISTENERS)} listeners, beside ${count(QUESTIONS)} GET /users/{id} a second and none`;
const ROOMS = 100_000;
const ROOMS_EACH = 100;
const MEMBERS = 10_000;
const SPARE_FILES = 200;
const TURN_MS = 20;
const NAIVE = 'beside sorting all names each time';
// The naive list takes long for each.
const MAX_PAGES = 60;
const ROOM = 'presence.bench';
const LISTS = {
  members: { path: `/rooms/${ROOM}/members`, list: 'members', name: 'user' },
  connections: { path: '/connections', list: 'connections', name: 'connection' },
};

export default {
  beside: {
    // In the baseline's place: nobody asks.
    servers: { baseline: 'postroom', postroom: 'postroom' },
    rows: {
      p50: { label: `${BESIDE}, ${RATE} publishes/s: publish to delivery, p50 ms` },
      p99: { label: `${BESIDE}, ${RATE} publishes/s: publish to delivery, p99 ms` },
      cpu: { label: `${BESIDE}, ${RATE} publishes/s: server CPU, %` },
      storm: { label: `${BESIDE}, 64 in flight: deliveries/s`, target: ratioAtLeast(0.9) },
    },
    async measure(load, _server, side) {
      await load.ask('connect', { paths: userPaths(usersNamed('u', USERS), 'public.bench'), together: 64 });
      await load.ask('fanout', { connections: 64, window: 128, warm: 1, seconds: 0.5 });
      if (side === 'postroom') await load.ask('ask', { ...ASKING, paths: USER_PATHS });
      const stream = await load.ask('stream', {
        connections: 16,
        rate: RATE,
        bytes: 100,
        warm: 1,
        seconds: 4,
      });
      const storm = await load.ask('fanout', { connections: 64, window: 128, warm: 1, seconds: 3 });
      if (side === 'postroom') await load.ask('asked');
      return {
        figures: {
          p50: stream.p50,
          p99: stream.p99,
          cpu: stream.serverShare * 100,
          storm: storm.deliveries / storm.seconds,
        },
        usages: [stream, storm],
      };
    },
  },

  // One node beside two: there each question goes to both.
  question: {
    servers: { baseline: 'postroom', postroom: 'redis-2' },
    rows: {
      cpu: {
        label: `${count(QUESTIONS)} GET /users/{id} a second, two nodes beside one: CPU of all, µs each`,
      },
      p50: { label: `${count(QUESTIONS)} GET /users/{id} a second, two nodes beside one: p50 ms` },
      p99: { label: `${count(QUESTIONS)} GET /users/{id} a second, two nodes beside one: p99 ms` },
    },
    async measure(load) {
      await load.ask('connect', { paths: userPaths(usersNamed('u', USERS), 'public.bench'), together: 64 });
      const before = await load.ask('idle', { seconds: 1 });
      await load.ask('ask', { ...ASKING, paths: USER_PATHS });
      await load.ask('idle', { seconds: 2 });
      const usage = await load.ask('idle', { seconds: 3 });
      const { p50, p99 } = await load.ask('asked');
      const idle = before.serverShare * usage.seconds * 1e6;
      return { figures: { cpu: (usage.serverMicros - idle) / usage.questions, p50, p99 }, usages: [usage] };
    },
  },

  rooms: {
    probed: true,
    rows: {
      first: { label: `${count(ROOMS)} rooms, ${NAIVE}: first page (makes the index), ms` },
      firstTurn: {
        label: `${count(ROOMS)} rooms: the first page, longest turn, ms of CPU`,
        target: atMost(TURN_MS),
      },
      index: { label: `${count(ROOMS)} rooms: memory that stays after the first page, bytes a room` },
      ...pageRows(`${count(ROOMS)} rooms, ${NAIVE}`),
    },
    async measure(load, server) {
      const { figures, usages } = await measureRooms(load, server);
      return { figures, usages };
    },
  },

  members: listQuestion(`GET /rooms/{room}/members of ${count(MEMBERS)}`, LISTS.members),
  connections: listQuestion(`GET /connections of ${count(MEMBERS)}`, LISTS.connections),

  // How many users a room has is one number. In the baseline's place: a room of one.
  room: {
    servers: { baseline: 'postroom', postroom: 'postroom' },
    probed: true,
    rows: {
      p50: { label: `GET /rooms/{room} of ${count(MEMBERS)} members, beside one of 1: p50 ms` },
      turn: {
        label: `GET /rooms/{room} of ${count(MEMBERS)} members, beside one of 1: longest turn, ms of CPU`,
        target: atMost(TURN_MS),
      },
    },
    needs: enoughFiles,
    async measure(load, server, side) {
      await load.ask('connect', {
        paths: userPaths(usersNamed('u', side === 'postroom' ? MEMBERS : 1), ROOM),
        together: 64,
      });
      const asking = { rate: 20, connections: 1, paths: [`/rooms/${ROOM}`] };
      await load.ask('ask', asking);
      await load.ask('idle', { seconds: 1 });
      await server.probe('turns');
      const usage = await load.ask('idle', { seconds: 3 });
      const { p50 } = await load.ask('asked');
      const turns = await server.probe('turns');
      return { figures: { p50, turn: turns.cpu }, usages: [usage] };
    },
  },
};

async function measureRooms(load, server) {
  const paths = Array.from({ length: ROOMS / ROOMS_EACH }, (_, n) => {
    const names = Array.from(
      { length: ROOMS_EACH },
      (_, m) => `public.order.${scattered(n * ROOMS_EACH + m)}`,
    );
    return `/ws?rooms=${names.join()}`;
  });
  await load.ask('connect', { paths, together: 16 });
  const list = { path: '/rooms', list: 'rooms', name: 'room' };
  const before = await server.probe('memory');
  await server.probe('turns');
  const first = await load.ask('walk', { ...list, limit: 100, pages: 1 });
  const firstTurns = await server.probe('turns');
  const after = await server.probe('memory');
  const { figures, usages } = await measurePages(load, server, list);
  return {
    figures: {
      first: first.first,
      firstTurn: firstTurns.cpu,
      index: (after.bytes - before.bytes) / ROOMS,
      ...figures,
    },
    usages,
  };
}

/** Not in order, as rooms come. */
function scattered(number) {
  return String((number * 7_919) % ROOMS).padStart(6, '0');
}

function listQuestion(what, list) {
  return {
    probed: true,
    rows: pageRows(`${what}, ${NAIVE}`),
    needs: enoughFiles,
    async measure(load, server) {
      await load.ask('connect', { paths: userPaths(usersNamed('u', MEMBERS), ROOM), together: 64 });
      await load.ask('walk', { ...list, limit: 1_000 });
      const { figures, usages } = await measurePages(load, server, list);
      return { figures, usages };
    },
  };
}

async function measurePages(load, server, list) {
  const figures = {};
  const usages = [];
  for (const limit of [100, 1_000]) {
    await server.probe('turns');
    const usage = await load.ask('walk', { ...list, limit, pages: MAX_PAGES });
    const turns = await server.probe('turns');
    figures[`p50/${limit}`] = usage.p50;
    figures[`p99/${limit}`] = usage.p99;
    figures[`cpu/${limit}`] = usage.serverMicros / usage.pages / 1000;
    figures[`turn/${limit}`] = turns.cpu;
    usages.push(usage);
  }
  return { figures, usages };
}

function pageRows(what) {
  return Object.fromEntries(
    [100, 1_000].flatMap(limit => [
      [`p50/${limit}`, { label: `${what}: page of ${count(limit)}, p50 ms`, target: ratioBelow(1) }],
      [`p99/${limit}`, { label: `${what}: page of ${count(limit)}, longest ms` }],
      [`cpu/${limit}`, { label: `${what}: page of ${count(limit)}, server CPU, ms` }],
      [
        `turn/${limit}`,
        { label: `${what}: page of ${count(limit)}, longest turn, ms of CPU`, target: atMost(TURN_MS) },
      ],
    ]),
  );
}

function enoughFiles() {
  if (openFilesLimit() < MEMBERS + SPARE_FILES)
    return `${count(MEMBERS)} members need a higher hard limit of open files (ulimit -Hn)`;
}
