/** What do webhooks cost if PHP does not answer: publishing beside it, and memory? In the baseline's place: none. */
import { KEY } from './harness.js';
import { anonKiB, settledKiB } from './proc.js';
import { count } from './table.js';

const BESIDE_NONE = { baseline: 'disk', postroom: 'disk-webhooks' };
const OPEN = 1_000;
const STAY_SECONDS = 2;
const SECONDS = 8;
const RATE = 200;
const PUBLISHING = `${RATE} publishes/s while ${count(OPEN)} connections come and go, beside no webhooks`;
const VISITS = 500;
const ROOMS = 100;
// It opens, joins, leaves and closes.
const WAITING = VISITS * (1 + ROOMS + ROOMS + 1);
const MEMORY = `${count(WAITING)} events that wait on the disk, beside none; after a restart`;

export default {
  publishing: {
    servers: BESIDE_NONE,
    probed: true,
    rows: {
      p50: { label: `${PUBLISHING}: POST to its answer, p50 ms` },
      p99: { label: `${PUBLISHING}: POST to its answer, p99 ms` },
      turn: { label: `${PUBLISHING}: longest turn, ms of CPU` },
      cpu: { label: `${PUBLISHING}: server CPU, %` },
    },
    async measure(load, server) {
      const visits = {
        paths: ['/ws?room=public.visits'],
        rate: OPEN / STAY_SECONDS,
        stay: STAY_SECONDS * 1000,
      };
      await load.ask('ask', { post: 'public.empty', rate: RATE, connections: 16 });
      await load.ask('churn', { ...visits, seconds: STAY_SECONDS });
      // Forgets the times so far.
      await load.ask('idle', { seconds: 0 });
      await server.probe('turns');
      const usage = await load.ask('churn', { ...visits, seconds: SECONDS });
      const turns = await server.probe('turns');
      const { p50, p99 } = await load.ask('asked');
      return { figures: { p50, p99, turn: turns.cpu, cpu: usage.serverShare * 100 }, usages: [usage] };
    },
  },

  memory: {
    servers: BESIDE_NONE,
    settings: { WEBHOOK_EVENTS: 'connection.*,room.joined,room.left' },
    rows: {
      rss: { label: `${MEMORY}: RSS, MiB` },
      anon: { label: `${MEMORY}: RSS without files, MiB` },
    },
    async measure(load, server, side) {
      const rooms = Array.from({ length: ROOMS }, (_, n) => `public.room.${n}`).join();
      await load.ask('churn', { paths: [`/ws?rooms=${rooms}`], rate: 100, stay: 50, seconds: VISITS / 100 });
      await load.ask('idle', { seconds: 1 });
      load.stop();
      await server.restart();
      const rss = await settledKiB(server.pid);
      const anon = anonKiB(server.pid);
      if (side === 'postroom') await checkWaiting(server);
      return { figures: { rss: rss / 1024, anon: anon / 1024 }, usages: [] };
    },
  },
};

async function checkWaiting({ port }) {
  const headers = { Authorization: `Bearer ${KEY}` };
  const answer = await fetch(`http://127.0.0.1:${port}/health`, { headers });
  const { webhooks } = await answer.json();
  if (webhooks.waiting < WAITING) throw new Error(`${webhooks.waiting} of ${WAITING} events wait`);
}
