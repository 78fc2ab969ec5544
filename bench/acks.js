/**
 * What do acknowledgements, `collapse` and `delay` cost? What they cost those who do not use them is asked by beside.js.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { fill } from './fill.js';
import { anonKiB, cpuMicros } from './proc.js';
import { atMost, count } from './table.js';

const run = promisify(execFile);

const WAITING = { ack: 60, wait: 5 };
// So many publishes in flight: with 1,000 listeners, 8,000 acknowledgements are already a lot.
const IN_FLIGHT = { 1: 64, 10: 64, 1000: 8 };
const TIMES = { warm: 0.7, seconds: 1.5 };

const NAMES = 10_000;
const PAST = 100_000;
const PAST_NAMES = 100;
const AGAIN = 5;
const COLLAPSED = `a client comes back to ${count(PAST)} entries of ${PAST_NAMES} names, beside without collapse`;

const TURN_MS = 20;
const PUSHED = 40_000;
const EARLY = `${count(PUSHED)} with ack that leave a past of 1 MiB early, beside without ack`;

const EACH = 10_000;
const SCHEDULED = 100_000;
const WARM_UP = 5_000;
const POSTED = `${count(SCHEDULED)} posted in batches of 1,000, for later, beside at once`;
const ROOMY = { RETENTION_BYTES: `${256 * 1024 * 1024}`, RETENTION_SECONDS: '86400' };
const ITSELF = { baseline: 'postroom', postroom: 'postroom' };

export default {
  ...Object.fromEntries(Object.keys(IN_FLIGHT).map(size => [`wait-${size}`, waiting(Number(size))])),

  // The retention is small: each new notification pushes an old one out before its deadline. In the baseline's place:
  // they have no deadline.
  early: {
    servers: ITSELF,
    settings: { RETENTION_BYTES: `${1024 * 1024}` },
    probed: true,
    rows: {
      cpu: { label: `${EARLY}: server CPU, µs each` },
      turn: { label: `${EARLY}: longest turn, ms of CPU`, target: atMost(TURN_MS) },
    },
    async measure(_load, server, side) {
      const notifications = Array.from({ length: PUSHED }, (_, n) => ({
        room: 'public.empty',
        event: 'order.paid',
        data: { order: n },
        ...(side === 'postroom' && { ack: 300 }),
      }));
      await fill(server, notifications.slice(0, WARM_UP));
      await server.probe('turns');
      const before = cpuMicros(server.pid);
      await fill(server, notifications);
      const cpu = cpuMicros(server.pid) - before;
      const turns = await server.probe('turns');
      return { figures: { cpu: cpu / PUSHED, turn: turns.cpu }, usages: [] };
    },
  },

  collapse: publishing(`collapse, ${count(NAMES)} names`, { names: NAMES }),

  'beside-scheduled': publishing('one notification that waits until tomorrow', { scheduled: true }),

  return: {
    servers: ITSELF,
    settings: ROOMY,
    probed: true,
    rows: {
      first: { label: `${COLLAPSED}: server CPU, ms, the first` },
      turn: { label: `${COLLAPSED}: longest turn, ms of CPU, the first` },
      seconds: { label: `${COLLAPSED}: until it has everything, ms, the first` },
      next: { label: `${COLLAPSED}: server CPU, ms, each later one` },
      nextTurn: { label: `${COLLAPSED}: longest turn, ms of CPU, later ones` },
    },
    async measure(load, server, side) {
      const isCollapsing = side === 'postroom';
      const missed = isCollapsing ? PAST_NAMES : PAST;
      const room = 'public.prices';
      const [since] = await fill(server, [{ room, event: 'price' }]);
      await fill(
        server,
        Array.from({ length: PAST }, (_, n) => ({
          room,
          event: 'price',
          data: { number: n - PAST + missed, price: '129.90', currency: 'EUR' },
          ...(isCollapsing && { collapse: `price.${n % PAST_NAMES}` }),
        })),
      );
      const back = { paths: [`/ws?room=${room}&since=${since}`], missed };
      await load.ask('idle', { seconds: 1 });
      await server.probe('turns');
      const first = await load.ask('reconnect', back);
      const turns = await server.probe('turns');
      const later = [];
      for (let n = 0; n < AGAIN; n++) later.push(await load.ask('reconnect', back));
      const laterTurns = await server.probe('turns');
      return {
        figures: {
          first: first.serverMicros / 1e3,
          turn: turns.cpu,
          seconds: first.seconds * 1e3,
          next: later.reduce((sum, { serverMicros }) => sum + serverMicros, 0) / AGAIN / 1e3,
          nextTurn: laterTurns.cpu,
        },
        usages: [first],
      };
    },
  },

  memory: {
    // In the baseline's place: the same notifications without `ack`.
    servers: ITSELF,
    rows: {
      ack: { label: `${count(EACH)} notifications with ack, beside without: bytes each` },
      acknowledged: {
        label: `${count(EACH)} notifications with ack and one acknowledgement each, beside without: bytes each`,
      },
      ofOne: { label: `${count(EACH)} acknowledgements of one notification: bytes each` },
    },
    async measure(_load, _server, side) {
      if (side === 'baseline') {
        const plain = await bytesEach('plain');
        return { figures: { ack: plain, acknowledged: plain }, usages: [] };
      }
      const [ack, acknowledged, ofOne] = [
        await bytesEach('ack'),
        await bytesEach('acknowledged'),
        await bytesEach('of-one'),
      ];
      return { figures: { ack, acknowledged, ofOne }, usages: [] };
    },
  },

  // In the baseline's place: as many that were sent at once, and are retained.
  scheduled: {
    servers: { baseline: 'disk', postroom: 'disk' },
    settings: ROOMY,
    probed: true,
    rows: {
      heap: { label: `${count(SCHEDULED)} that wait, beside retained: memory after garbage, bytes each` },
      anon: { label: `${count(SCHEDULED)} that wait, beside retained: RSS without files, bytes each` },
      rate: { label: `${POSTED}: taken a second` },
      cpu: { label: `${POSTED}: server CPU, µs each` },
      file: { label: `${count(SCHEDULED)} that wait, beside retained: bytes of files each` },
    },
    async measure(load, server, side) {
      const later = side === 'postroom' && { delay: 86_400 };
      const notifications = Array.from({ length: SCHEDULED }, (_, n) => ({
        room: `public.orders.${n % 1_000}`,
        event: 'order.paid',
        data: { order: n, total: '129.90', currency: 'EUR', paid: true },
        ...later,
      }));
      await fill(server, notifications.slice(0, WARM_UP));
      const before = await memoryOf(server);
      const cpuBefore = cpuMicros(server.pid);
      const began = performance.now();
      await fill(server, notifications);
      const seconds = (performance.now() - began) / 1000;
      const cpu = cpuMicros(server.pid) - cpuBefore;
      await load.ask('idle', { seconds: 2 });
      const after = await memoryOf(server);
      const each = what => (after[what] - before[what]) / SCHEDULED;
      return {
        figures: {
          heap: each('heap'),
          anon: each('anon'),
          file: each('file'),
          rate: SCHEDULED / seconds,
          cpu: cpu / SCHEDULED,
        },
        usages: [],
      };
    },
  },
};

/** Publishes that wait until all listeners have acknowledged, beside the same ones that are answered at once. */
function waiting(size) {
  const who = size === 1 ? 'one listener that acknowledges' : `${count(size)} listeners that acknowledge`;
  const what = `${who}, publishes that wait for it, beside without`;
  const flight = `${IN_FLIGHT[size]} in flight`;
  return {
    servers: ITSELF,
    rows: {
      rate: { label: `${what}, ${flight}: publishes/s` },
      cpu: { label: `${what}, ${flight}: server CPU, µs a publish` },
      each: { label: `${who}, ${flight}: server CPU beyond that of publishing, µs an acknowledgement` },
      p50: { label: `${what}, ${flight}: publish to its answer, p50 ms` },
      p99: { label: `${what}, ${flight}: publish to its answer, p99 ms` },
      alone50: { label: `${what}, one at a time: publish to its answer, p50 ms` },
      alone99: { label: `${what}, one at a time: publish to its answer, p99 ms` },
    },
    async measure(load, _server, side) {
      const really = side === 'postroom';
      const fields = really ? WAITING : {};
      await load.ask('acknowledge', { count: size });
      const connections = IN_FLIGHT[size];
      const flood = { connections, window: 2 * connections, ...TIMES };
      const plain = really && (await load.ask('fanout', flood));
      const many = await load.ask('fanout', { ...flood, fields });
      const one = await load.ask('fanout', { connections: 1, window: 1, ...TIMES, fields });
      if (really) await load.ask('checkAcknowledged', { fields });
      const cpuOf = ({ serverMicros, publishes }) => serverMicros / publishes;
      return {
        figures: {
          rate: many.publishes / many.seconds,
          cpu: cpuOf(many),
          ...(really && { each: (cpuOf(many) - cpuOf(plain)) / size }),
          p50: many.answers.p50,
          p99: many.answers.p99,
          alone50: one.answers.p50,
          alone99: one.answers.p99,
        },
        usages: [many, one],
      };
    },
  };
}

/** Publishing to nobody, with something and without. */
function publishing(what, { names, scheduled = false }) {
  const label = `publishing, no listener, with ${what}, beside without`;
  return {
    servers: ITSELF,
    settings: ROOMY,
    rows: { rate: { label: `${label}: publishes/s` }, cpu: { label: `${label}: server CPU, µs a publish` } },
    async measure(load, server, side) {
      if (side === 'postroom' && scheduled)
        await fill(server, [{ room: 'public.empty', event: 'order.paid', delay: 86_400 }]);
      const window = { connections: 64, keepAlive: true, warm: 2, seconds: 1.5 };
      const usage = await load.ask('publish', { ...window, ...(side === 'postroom' && { names }) });
      return {
        figures: { rate: usage.publishes / usage.seconds, cpu: usage.serverMicros / usage.publishes },
        usages: [usage],
      };
    },
  };
}

async function bytesEach(kind) {
  const program = fileURLToPath(new URL('ack-memory.js', import.meta.url));
  const { stdout } = await run(process.execPath, [program, JSON.stringify({ kind, count: EACH })]);
  return JSON.parse(stdout).bytes;
}

async function memoryOf(server) {
  const { bytes } = await server.probe('memory');
  return { heap: bytes, anon: anonKiB(server.pid) * 1024, file: server.fileBytes() };
}
