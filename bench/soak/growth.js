/** Whether something grew over one life of the server: compares its last third with its first, after warming up. */
import { median } from '../table.js';

const MIB = 1024 * 1024;
const WARM_UP_SHARE = 0.2;
const LEAST_WARM_UP_MS = 10_000;
const LEAST_MS = 15_000; // after warming up
// Strangers' connections come and go by the hundred. They may hold as much as tests/hostile allows.
const STRANGERS = { memory: 64, 'descriptors beside connections': 200 };

/** Up to `allowed(first, grownWindow)` it is noise: a heap between two collections, a machine that others use too. */
const MEASURES = [
  {
    what: 'memory',
    unit: 'MiB RSS',
    of: ({ rssBytes }) => rssBytes / MIB,
    allowed: (first, grownWindow) => first * 1.15 + 16 + (2 * grownWindow) / MIB,
  },
  {
    what: 'descriptors beside connections',
    unit: '',
    of: ({ files, report }) => files - report.connections,
    allowed: first => first + 5,
  },
  {
    what: 'journal file',
    unit: 'MiB',
    of: ({ journalBytes }) => journalBytes / MIB,
    allowed: (first, grownWindow) => first * 1.25 + 8 + (2 * grownWindow) / MIB,
  },
  {
    what: 'loop delay p99',
    unit: 'ms',
    of: ({ report }) => report.eventLoopDelayMs.p99,
    allowed: first => first * 1.5 + 5,
  },
];

export function isLongEnough(life) {
  return life.length > 0 && life.at(-1).at - warmAt(life) >= LEAST_MS;
}

/** For each measure its medians, and whether it grew; under attack, by more than the strangers may hold. */
export function growthOf(life, { attack }) {
  const warm = life.filter(({ at }) => at >= warmAt(life));
  const third = Math.floor(warm.length / 3);
  const sides = [warm.slice(0, third), warm.slice(-third)];
  const medians = of => sides.map(samples => median(samples.map(of)));
  const [windowBefore, windowAfter] = medians(({ report }) => report.journal.bytes);
  return MEASURES.map(({ what, unit, of, allowed }) => {
    const [first, last] = medians(of);
    const theirs = attack ? (STRANGERS[what] ?? 0) : 0;
    const grew = last > allowed(first, Math.max(0, windowAfter - windowBefore)) + theirs;
    return { what, unit, first: rounded(first), last: rounded(last), grew };
  });
}

function warmAt(life) {
  const [{ at }] = life;
  return at + Math.max(LEAST_WARM_UP_MS, (life.at(-1).at - at) * WARM_UP_SHARE);
}

function rounded(value) {
  return Math.round(value * 10) / 10;
}
