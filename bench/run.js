/**
 * npm run bench                    every question
 * npm run bench -- storm connect   some of them; a shared name, such as intake, is enough too
 *   --rounds N                     how often each is measured (default 3); the table shows medians
 *   --only baseline|postroom       one side alone
 *   --tries N                      how often a run is tried that other programs disturb (default 4)
 *   --json FILE                    the figures of every round
 */
import { existsSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import acks from './acks.js';
import calls from './calls.js';
import cluster from './cluster.js';
import connect from './connect.js';
import control from './control.js';
import fanoutScale from './fanout-scale.js';
import { whyNot, withServer } from './harness.js';
import idle from './idle.js';
import intake from './intake.js';
import journal from './journal.js';
import latency from './latency.js';
import oneAtATime from './one-at-a-time.js';
import presence from './presence.js';
import { pinned } from './processes.js';
import publish from './publish.js';
import reconnect from './reconnect.js';
import restart from './restart.js';
import slowReaders from './slow-readers.js';
import storm from './storm.js';
import { figure, table } from './table.js';
import webhooks from './webhooks.js';
import typing from './typing.js';

/** If others took more than this of the two cores, the run is repeated. */
const MOST_OTHERS = 0.2;
const CALM_DOWN_MS = 3_000;

const QUESTIONS = {
  storm,
  'one-at-a-time': oneAtATime,
  publish,
  connect,
  idle,
  'fanout-scale': fanoutScale,
  journal,
  'slow-readers': slowReaders,
  reconnect,
  restart,
  ...named('intake', intake),
  ...named('latency', latency),
  ...named('cluster', cluster),
  ...named('presence', presence),
  ...named('control', control),
  ...named('webhooks', webhooks),
  ...named('typing', typing),
  ...named('calls', calls),
  ...named('acks', acks),
};

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    only: { type: 'string' },
    json: { type: 'string' },
    tries: { type: 'string', default: '4' },
  },
});
if (!existsSync('/proc/self/schedstat'))
  throw new Error('this needs Linux: CPU and memory are read from /proc');
const asked = word => name => name === word || name.startsWith(`${word}/`);
const names = Object.keys(QUESTIONS).filter(
  name => positionals.length === 0 || positionals.some(word => asked(word)(name)),
);
const unknown = positionals.filter(word => !names.some(asked(word)));
if (unknown.length) throw new Error(`no such question: ${unknown}; there are ${Object.keys(QUESTIONS)}`);

const servers = ['baseline', 'postroom'].filter(server => server === (options.only ?? server));
if (servers.length === 0) throw new Error('--only takes baseline or postroom');
const machine = {
  date: new Date().toISOString(),
  node: process.version,
  cpu: `${cpus().length} × ${cpus()[0].model.trim()}`,
  pinning: pinned
    ? 'server on core 0, load and broker on core 1'
    : 'none: no taskset or a single core; expect noise',
};
for (const [what, value] of Object.entries(machine)) console.log(`${what}: ${value}`);

const rows = [];
let disturbedRuns = 0;
for (const name of names) rows.push(...(await measureAll(name, QUESTIONS[name])));

console.log(`\n${table(rows)}\n\nMedians; rounds: ${options.rounds}.`);
if (disturbedRuns > 0)
  console.log(`${disturbedRuns} runs stayed disturbed by other programs: do not trust their rates.`);
if (options.json) {
  const plain = rows.map(({ target, ...row }) => ({ ...row, target: target?.text }));
  writeFileSync(options.json, `${JSON.stringify({ ...machine, disturbedRuns, rows: plain }, null, 2)}\n`);
}

/** Baseline and Postroom take turns, so that a slow minute of the machine affects both. */
async function measureAll(name, question) {
  const sides = servers.map(side => question.servers?.[side] ?? side);
  const reason = question.needs?.() ?? sides.map(whyNot).find(Boolean);
  if (reason) {
    console.log(`${name}: left out: ${reason}`);
    return [];
  }
  const results = Object.entries(question.rows).map(([key, row]) => ({
    question: name,
    key,
    ...row,
    baseline: [],
    postroom: [],
  }));
  for (let round = 1; round <= Number(options.rounds); round++) {
    for (const server of servers) {
      const figures = await undisturbed(`${name} ${round}/${options.rounds} ${server}`, server, question);
      for (const result of results) {
        // Some figures are of one side only.
        if (figures[result.key] !== undefined) result[server].push(figures[result.key]);
      }
    }
  }
  return results;
}

/** The figures of a run in which the machine did little else; after too many tries, of the calmest run. */
async function undisturbed(title, side, question) {
  const server = question.servers?.[side] ?? side;
  const measure = (load, running) => question.measure(load, running, side);
  let calmest = { others: Number.POSITIVE_INFINITY };
  for (let tries = 0; tries < Number(options.tries); tries++) {
    const { figures, usages } = await withServer(server, measure, question);
    const others = Math.max(0, ...usages.map(usage => usage.othersShare));
    const disturbed = others > MOST_OTHERS;
    console.log(
      `${title}: ${summary(figures, usages)}${disturbed ? ` disturbed by others: ${percent(others)} %` : ''}`,
    );
    if (others < calmest.others) calmest = { figures, others };
    if (!disturbed) return figures;
    if (tries + 1 < Number(options.tries)) await sleep(CALM_DOWN_MS);
  }
  disturbedRuns++;
  return calmest.figures;
}

/** The figures of one run, and how busy both sides were. A load side near 100 % would have measured itself. */
function summary(figures, usages) {
  const values = Object.entries(figures).map(([key, value]) => `${key} ${figure(value)}`);
  if (usages.length === 0) return values.join(', ');
  const busy = side => usages.map(usage => percent(usage[side])).join('/');
  const broker = usages.some(usage => usage.brokerShare) ? `, broker ${busy('brokerShare')} %` : '';
  return `${values.join(', ')} (CPU: server ${busy('serverShare')} %, load ${busy('loadShare')} %${broker})`;
}

/** Questions that share a name. */
function named(name, questions) {
  return Object.fromEntries(
    Object.entries(questions).map(([part, question]) => [`${name}/${part}`, question]),
  );
}

function percent(share) {
  return Math.round(share * 100);
}
