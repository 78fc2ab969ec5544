/**
 * POSTROOM_BEFORE=<an older checkout, built> node bench/beside.js [pairs]
 * Has plain publishing become dearer? Both versions run at the same time, and are asked in turn for a short while each,
 * so that other programs disturb both alike. Prints the median of each, and the ratio with its quartiles.
 */
import { whyNot, withServer } from './harness.js';
import { roomPaths } from './rooms.js';
import { figure, median } from './table.js';

const LISTENERS = 1_000;
const SIDES = ['before', 'now'];
const TIMES = { warm: 0.15, seconds: 0.5 };
const PUBLISH = { connections: 64, keepAlive: true, ...TIMES };
const STORM = { connections: 64, window: 128, ...TIMES };
const WARM_UP = 4;

const reason = whyNot('before');
if (reason) throw new Error(reason);
const pairs = Number(process.argv[2] ?? 30);

await withServer('before', before => withServer('postroom', now => compare({ before, now })));
process.exit();

async function compare(loads) {
  await inTurn(
    'publishing, no listener',
    async load => {
      const { publishes, seconds, serverMicros } = await load.ask('publish', PUBLISH);
      return { 'publishes/s': publishes / seconds, 'server CPU, µs a publish': serverMicros / publishes };
    },
    loads,
  );
  for (const side of SIDES) await loads[side].ask('connect', { paths: roomPaths(LISTENERS), together: 64 });
  await inTurn(
    `${LISTENERS} listeners, 64 in flight`,
    async load => {
      const { deliveries, publishes, seconds, serverMicros } = await load.ask('fanout', STORM);
      return { 'deliveries/s': deliveries / seconds, 'server CPU, µs a publish': serverMicros / publishes };
    },
    loads,
  );
}

async function inTurn(what, measure, loads) {
  const seen = { before: [], now: [] };
  for (let pair = -WARM_UP; pair < pairs; pair++) {
    for (const side of pair % 2 ? SIDES : SIDES.toReversed()) {
      const figures = await measure(loads[side]);
      if (pair >= 0) seen[side].push(figures);
    }
  }
  for (const key of Object.keys(seen.now[0])) {
    const [before, now] = SIDES.map(side => seen[side].map(figures => figures[key]));
    const ratios = now.map((value, pair) => value / before[pair]).sort((a, b) => a - b);
    const quartile = share => figure(ratios[Math.floor(ratios.length * share)]);
    console.log(
      `${what}: ${key}: before ${figure(median(before))}, now ${figure(median(now))}, ` +
        `ratio ${figure(median(ratios))} (half of ${pairs} pairs: ${quartile(0.25)} to ${quartile(0.75)})`,
    );
  }
}
