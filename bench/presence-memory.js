/**
 * node presence-memory.js '{ kind, members, size }'
 * Prints the bytes of memory that a member takes, as JSON. The members are in rooms of `size`; each has one connection.
 * A process of its own, without sockets: nothing else grows.
 *
 *   connections   connections in rooms that are no presence rooms
 *   members       the same in presence rooms, told to all
 *   map           a Map of what another node tells: the least that a copy can take
 *   copy          the copy in a server that has none of these connections
 */
import { MemoryStores } from '../dist/storage/memory.js';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { setTimeout as sleep } from 'node:timers/promises';
import { wire } from '../dist/clients/postroom/wire.js';
import { Postroom } from '../dist/core/postroom.js';
import { MemoryJournal } from '../dist/journal/memory.js';
import { systemAfter, systemClock } from '../dist/model/clock.js';
import { Patterns } from '../dist/model/pattern.js';
import { INFO, usersNamed } from './tokens.js';

const RETENTION = { seconds: 600, bytes: 1024 * 1024 };
const PART = 200;
const WARM_UP = 1000;
// Until the last have been told of, and other nodes too.
const SETTLE_MS = 2_500;

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');
const { kind, members, size } = JSON.parse(process.argv[2]);
const socket = { waiting: 0, write: (_bytes, taken) => taken && setImmediate(taken), close() {} };
const peer = { address: '192.0.2.1', userAgent: undefined };
const INFO_TEXT = JSON.stringify(INFO);
/** Not one for all: each token has its own text. */
const freshInfo = () => Buffer.from(INFO_TEXT).toString();

const fills = {
  connections: async (users, prefix) => connectAll(await core([]), users, prefix),
  members: async (users, prefix) => {
    const postroom = await core(['presence.*']);
    const connections = await connectAll(postroom, users, prefix);
    check(postroom, users, prefix);
    return connections;
  },
  map: async (users, prefix) => {
    const map = new Map();
    for (const text of messages(users, prefix)) {
      for (const [room, user, at, info] of JSON.parse(text).changes ?? []) {
        if (!map.has(room)) map.set(room, new Map());
        map.get(room).set(user, { at, info });
      }
    }
    return map;
  },
  copy: async (users, prefix) => {
    let hear;
    const cluster = {
      ...alone(),
      nodes: () => ['one', 'two'].map(node => ({ node, report: '0 0 1' })),
      handle(topic, handler) {
        if (topic === 'presence') hear = handler;
      },
    };
    const postroom = await core(['presence.*'], cluster);
    for (const text of messages(users, prefix)) {
      hear(text, 'two');
      await new Promise(resolve => setImmediate(resolve));
    }
    await sleep(SETTLE_MS);
    check(postroom, users, prefix);
    return postroom;
  },
};

const fill = fills[kind];
const warm = await fill(usersNamed('w', WARM_UP), 'presence.warm');
const before = await memory();
const kept = await fill(usersNamed('u', members), 'presence.bench');
const bytes = (await memory()) - before;
console.log(JSON.stringify({ bytes: bytes / members }));
// Until here neither is garbage.
process.exit([warm, kept].includes(undefined) ? 1 : 0);

function alone() {
  return {
    node: 'one',
    start: async () => {},
    nodes: () => [{ node: 'one', report: '0 0 0' }],
    tell() {},
    ask: async () => ({ answers: [], partial: false }),
    handle() {},
    stop: async () => {},
  };
}

async function core(rooms, cluster = alone()) {
  const postroom = new Postroom({
    journal: new MemoryJournal(RETENTION, systemClock),
    cluster,
    retention: RETENTION,
    maxBufferedBytes: 1024 * 1024,
    isShared: false,
    presence: { rooms: new Patterns(rooms), graceMs: 3000, maxMembers: 1000 },
    stores: new MemoryStores(),
    clock: systemClock,
    after: systemAfter,
    failed(error) {
      throw error;
    },
  });
  await postroom.start();
  return postroom;
}

async function connectAll(postroom, users, prefix) {
  for (const [index, user] of users.entries()) {
    const room = roomOf(prefix, index);
    postroom.connect(socket, wire, { user, info: freshInfo(), peer, rooms: [room], since: undefined });
    if (index % PART === 0) await new Promise(resolve => setImmediate(resolve));
  }
  await sleep(SETTLE_MS);
  return postroom;
}

/** What a node sends that is asked for all its members. */
function* messages(users, prefix) {
  const version = 1;
  const parts = Math.ceil(users.length / PART);
  for (let number = 0; number < parts; number++) {
    const part = users.slice(number * PART, (number + 1) * PART);
    const changes = part.map((user, index) => [
      roomOf(prefix, number * PART + index),
      user,
      1_800_000_000_000 + index,
      freshInfo(),
    ]);
    yield JSON.stringify({ kind: 'part', number, version, changes });
  }
  yield JSON.stringify({ kind: 'end', number: parts, version });
}

function check({ presence }, users, prefix) {
  const last = users.length - 1;
  const there = [...presence.membersOf(roomOf(prefix, last))].some(({ user }) => user === users[last]);
  if (!there) throw new Error('the last one is not there');
}

function roomOf(prefix, index) {
  return `${prefix}.${Math.floor(index / size)}`;
}

/** In a turn of its own: V8 may keep values until the turn ends. */
async function memory() {
  await sleep(10);
  for (let twice = 0; twice < 2; twice++) gc();
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
}
