import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { open } from 'lmdb';
import { WebSocket } from 'ws';
import { EndedEarly, type ServerProcess, startProcess } from '../support/process.js';

/**
 * FLIPS=1000    how many damages each journal gets
 * SEED=7        the same damages again; but each new file has its pages elsewhere: keep a file to see it again
 * KEEP=folder   the folder for damaged files that were neither refused nor served completely
 */
const FLIPS = Number(process.env.FLIPS ?? 60);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const { KEEP } = process.env;

const KEY = 'a-key-for-damaged-journals-of-32-characters';
const ENVIRONMENT = {
  NODE_ENV: 'production',
  NOTIFY_KEYS: KEY,
  JWT_SECRET: KEY,
  JOURNAL: 'disk',
  DATA_DIR: './data',
  DRAIN_SECONDS: '0',
  RETENTION_SECONDS: '86400',
};
const FILE = join('data', 'journal.lmdb');
const ROOMS = ['public.a', 'public.b', 'public.房间'];
const KEPT = 400;
const TRIMMED = 300;
const NEW = 1000;
const AT_A_TIME = 2;
const LONGEST_RUN_MS = 20_000;
// Two runs, and two starts that hang.
const ONE_DAMAGE_MS = 70_000;

const PAGE = 4096;
const META_PAGES = [0, 1];
// Its number, its transaction, its flags and its two bounds.
const PAGE_HEADER = 24;
const META = 200;
const FLAGS = 18;
/** Flags of a branch and of a leaf. */
const TREE = 3;
// Its header, and where in it each of its nodes is.
const TREE_FRONT = 100;

/** A notification that a listener got, or must get; `data` is its text. */
interface Heard {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** A notification to be posted. */
interface Post {
  readonly room: string;
  readonly event: string;
  /** JSON text. */
  readonly data: string;
  readonly key?: string;
}

interface Result {
  readonly id: string;
  readonly duplicate: boolean;
}

/** A directory with the journal of a program that has ended, and its contents. */
interface Made {
  readonly directory: string;
  /** Everything up to this id has been trimmed. */
  readonly trimmed: string;
  /** The id before all entries. */
  readonly since: string;
  readonly past: readonly Heard[];
  /** The post of each key. */
  readonly keys: ReadonlyMap<string, Post & { readonly id: string }>;
}

/** To refuse and to serve are right. To begin anew, and to report a lost past, is right only with an empty file. */
type Outcome = 'refused' | 'served' | 'begun anew';

const OUTCOMES = ['refused', 'served', 'wrong'] as const;

interface Flip {
  readonly at: number;
  readonly xor: number;
}

/** The flips that are possible in a file of these bytes. */
const flipsOf: Record<string, (bytes: Buffer) => fc.Arbitrary<Flip[]>> = {
  'a bit anywhere': bytes => fc.tuple(fc.record({ at: anywhere(bytes), xor: bit })),
  'a byte anywhere': bytes => fc.tuple(fc.record({ at: anywhere(bytes), xor: byte })),
  'two bytes anywhere': bytes =>
    fc.array(fc.record({ at: anywhere(bytes), xor: byte }), { minLength: 2, maxLength: 2 }),
  'a byte of a page header': bytes => inPages(pagesOf(bytes), PAGE_HEADER),
  'a byte at the front of a tree page': bytes =>
    inPages(
      pagesOf(bytes).filter(page => (flagsOf(bytes, page) & TREE) !== 0),
      TREE_FRONT,
    ),
  'a byte of a meta page': () => inPages(META_PAGES, META),
};
const bit = fc.nat(7).map(place => 1 << place);
const byte = fc.integer({ min: 1, max: 255 });

function anywhere(bytes: Buffer): fc.Arbitrary<number> {
  return fc.nat(bytes.length - 1);
}

function inPages(pages: readonly number[], length: number): fc.Arbitrary<Flip[]> {
  return fc
    .tuple(fc.constantFrom(...pages), fc.nat(length - 1), byte)
    .map(([page, place, xor]) => [{ at: page * PAGE + place, xor }]);
}

/** Pages with a header: it begins with the page's number. Long values have further pages without one. */
function pagesOf(bytes: Buffer): number[] {
  const pages = Array.from({ length: Math.floor(bytes.length / PAGE) }, (_, page) => page);
  return pages.filter(page => bytes.readBigUInt64LE(page * PAGE) === BigInt(page));
}

function flagsOf(bytes: Buffer, page: number): number {
  return bytes.readUInt16LE(page * PAGE + FLAGS);
}

const specialDamages: readonly [string, (path: string) => void][] = [
  ['cut to half', path => truncateSync(path, Math.floor(statSync(path).size / 2))],
  ['cut to 5000 bytes', path => truncateSync(path, 5000)],
  ['something else', path => writeFileSync(path, 'this was never a database'.repeat(1000))],
  ['short and something else', path => writeFileSync(path, 'no')],
  [
    'a directory',
    path => {
      rmSync(path);
      mkdirSync(path);
    },
  ],
  ['zeros', path => rewrite(path, bytes => bytes.fill(0))],
  ['zeros in its meta pages', path => rewrite(path, bytes => bytes.fill(0, 0, META_PAGES.length * PAGE))],
  ['zeros behind its third page', path => rewrite(path, bytes => bytes.fill(0, 3 * PAGE))],
  ['zeros in its second half', path => rewrite(path, bytes => bytes.fill(0, bytes.length / 2))],
  [
    'followed by garbage',
    path => rewrite(path, bytes => Buffer.concat([bytes, Buffer.alloc(3 * PAGE + 100, 0xa5)])),
  ],
];

for (const end of ['SIGTERM', 'SIGKILL'] as const) {
  describe(`a journal that a ${end} left behind`, () => {
    const directories: string[] = [];
    let made: Made;

    function newDirectory(): string {
      const directory = mkdtempSync(join(tmpdir(), 'damaged-'));
      directories.push(directory);
      return directory;
    }

    /** The outcome for a copy of the journal. Throws if it is none of the outcomes. */
    async function outcomeOf(damage: (path: string) => void): Promise<Outcome> {
      const directory = newDirectory();
      const isFile = (path: string) => !path.endsWith('.sock');
      cpSync(made.directory, directory, { recursive: true, filter: isFile });
      try {
        damage(join(directory, FILE));
        return await outcome(made, directory);
      } finally {
        rmSync(directory, { recursive: true });
      }
    }

    beforeAll(async () => {
      made = await makeJournal(newDirectory(), end);
    }, ONE_DAMAGE_MS);

    afterAll(() => {
      for (const directory of directories) rmSync(directory, { recursive: true, force: true });
    });

    it(
      'is served whole',
      async () => {
        expect(await outcomeOf(() => undefined)).toBe('served');
      },
      ONE_DAMAGE_MS,
    );

    it.each(specialDamages)(
      'is refused or served whole, where it is now %s',
      async (_what, damage) => {
        expect(['refused', 'served']).toContain(await outcomeOf(damage));
      },
      ONE_DAMAGE_MS,
    );

    it(
      // A first start on a full disk leaves the same.
      'may begin anew, and says so, where it is now empty',
      async () => {
        expect(['refused', 'begun anew']).toContain(await outcomeOf(path => truncateSync(path, 0)));
      },
      ONE_DAMAGE_MS,
    );

    it(
      `is refused or served whole, whatever is flipped in it: ${FLIPS} times`,
      async () => {
        const original = readFileSync(join(made.directory, FILE));
        const kinds = Object.entries(flipsOf);
        const damages = kinds.flatMap(([kind, flips], index) => {
          const numRuns = Math.floor((FLIPS + index) / kinds.length);
          return numRuns === 0
            ? []
            : fc
                .sample(fc.noBias(flips(original)), { seed: SEED + index, numRuns })
                .map(flipped => ({ kind, flips: flipped }));
        });
        const tally = new Tally(kinds.map(([kind]) => kind));
        const faults: string[] = [];
        const started = performance.now();
        await together(damages, async ({ kind, flips }, number) => {
          const what = flips.map(flip => `${flip.at} (${placeIn(original, flip.at)}) ^ ${flip.xor}`).join();
          const damage = (path: string) => rewrite(path, bytes => flipIn(bytes, flips));
          try {
            const became = await outcomeOf(damage);
            if (became === 'begun anew') throw new Error('begun anew');
            tally.add(kind, became);
          } catch (error) {
            tally.add(kind, 'wrong');
            faults.push(`${kind}, ${what}: ${error instanceof Error ? error.message : error}`);
            if (KEEP !== undefined) keep(join(made.directory, FILE), `${end}-${SEED}-${number}`, damage);
          }
        });
        const seconds = (performance.now() - started) / 1000;
        process.stdout.write(
          `${end}, seed ${SEED}: ${tally}; ${((seconds * AT_A_TIME) / damages.length).toFixed(2)} s for each, ${AT_A_TIME} at a time\n`,
        );
        expect(faults).toEqual([]);
      },
      FLIPS * ONE_DAMAGE_MS,
    );
  });
}

/**
 * The outcome of the real program with a journal. Throws if it neither refuses it with a sentence, nor serves all of it
 * and goes on.
 */
async function outcome(made: Made, directory: string): Promise<Outcome> {
  let server: ServerProcess;
  try {
    server = await start(directory);
  } catch (error) {
    if (!(error instanceof EndedEarly)) throw error;
    checkRefusal(error);
    return 'refused';
  }
  try {
    return await servedBy(server, made);
  } catch (error) {
    const code = await server.stop('SIGKILL');
    const reason = error instanceof Error ? error.message : error;
    const ended = code === null ? '' : `; it ended with code ${code}`;
    throw new Error(`${reason}${ended}; ${lastOf(server)}`);
  }
}

async function servedBy(server: ServerProcess, made: Made): Promise<Outcome> {
  const listener = await Listener.open(server, made.since);
  const { recovered } = listener;
  if (recovered) await checkKeys(server, made);
  const behind = await Listener.open(server, made.trimmed);
  if (behind.recovered) throw new Error('what was trimmed is said to be there');
  const posted = await postAll(server, newPosts('first'), 100);
  const all = [...(recovered ? made.past : []), ...posted];
  await listener.hears(all);
  await end(server, 'SIGTERM');

  const next = await start(server.directory).catch((error: Error) => {
    throw new Error(`started once, and not again: ${error.message}`);
  });
  const again = await Listener.open(next, recovered ? made.since : listener.id);
  if (!again.recovered) throw new Error('recovered at first, and not any more after a restart');
  all.push(...(await postAll(next, newPosts('again').slice(0, 1), 1)));
  await again.hears(all);
  await end(next, 'SIGTERM');
  return recovered ? 'served' : 'begun anew';
}

async function start(directory: string, settings: Record<string, string> = {}): Promise<ServerProcess> {
  const server = await startProcess({ ...ENVIRONMENT, ...settings }, directory);
  // A program that runs in circles would be waited for without end. Programs that have ended do not mind.
  setTimeout(() => void server.stop('SIGKILL'), LONGEST_RUN_MS).unref();
  return server;
}

/** Checks for one sentence that says what is wrong, and more that say what to do. */
function checkRefusal({ code, output }: EndedEarly): void {
  const sentence = /^The journal \S+ cannot be opened: .+\. .{20,}$/m;
  if (code === 1 && sentence.test(output) && !/^\s+at /m.test(output)) return;
  throw new Error(`${code === null ? 'ended by a signal' : `exit code ${code}`}, with: ${shortened(output)}`);
}

/** Posts the kept notifications after the trimmed ones: so the file has pages that were used before. */
async function makeJournal(directory: string, ending: NodeJS.Signals): Promise<Made> {
  const [first = [], ...rest] = fc.sample(fc.noBias(batchesOf), { seed: SEED, numRuns: 1 })[0] ?? [];
  const trimming = await start(directory, { RETENTION_SECONDS: '1' });
  const gone = await postAll(trimming, first, TRIMMED);
  const trimmed = idOf(gone.at(0));
  const since = idOf(gone.at(-1));
  const past: Heard[] = [];
  // With the same target: for another one the key would be refused.
  const { room = '', event = '' } = first[0] ?? {};
  const again: Post = { room, event, data: '"again"', key: 'trimmed 0' };
  // The journal knows the key until it has trimmed it.
  for (let result: Result | undefined; result === undefined || result.duplicate; ) {
    [result] = await post(trimming, [again]);
    if (result?.duplicate === false) past.push({ ...again, id: result.id });
  }
  await end(trimming, 'SIGTERM');

  const server = await start(directory);
  const posts = rest.flat();
  past.push(...(await postAll(server, posts, 20)));
  const keys = new Map([['trimmed 0', { ...again, id: idOf(past[0]) }]]);
  posts.forEach((one, index) => {
    if (one.key !== undefined) keys.set(one.key, { ...one, id: idOf(past[index + 1]) });
  });
  await untilSealed(join(directory, FILE), idOf(past.at(-1)));
  await end(server, ending);
  return { directory, trimmed, since, past: past.map(heard), keys };
}

/**
 * Resolves when the commit after the last notification is there. Before it, one flip in a meta page can bring back the
 * state without the last batch, and nothing in the file can tell.
 */
async function untilSealed(path: string, last: string): Promise<void> {
  const root = open({ path, readOnly: true, maxDbs: 8 });
  const meta = root.openDB<string, string>({ name: 'meta' });
  try {
    while (Number(meta.get('probe') ?? 0) < Number.parseInt(last, 10)) {
      await new Promise(setImmediate);
      root.resetReadTxn();
    }
  } finally {
    await root.close();
  }
}

const text = fc
  .tuple(fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 6000 })), fc.nat(2))
  .map(([length, script]) => (['x', 'я', '付'][script] ?? '').repeat(length / (script + 1)));
const data = fc.oneof(
  text.map(value => JSON.stringify(value)),
  text.map(value => `{ "price":1.0, "escaped":"\\u0041\\/", "text":${JSON.stringify(value)} }`),
);
const batchesOf = fc.tuple(
  postsOf(TRIMMED, number => `trimmed ${number}`),
  postsOf(KEPT, number => (number % 2 === 0 ? `kept ${number} ${'k'.repeat(number % 150)}` : undefined)),
);

function postsOf(count: number, keyOf: (number: number) => string | undefined): fc.Arbitrary<Post[]> {
  const one = fc.record({ room: fc.constantFrom(...ROOMS), event: fc.constantFrom('e', 'order.paid'), data });
  return fc.array(one, { minLength: count, maxLength: count, size: 'max' }).map(posts =>
    posts.map((value, number) => {
      const key = keyOf(number);
      return key === undefined ? value : { ...value, key };
    }),
  );
}

function newPosts(name: string): Post[] {
  return Array.from({ length: NEW }, (_, number) => ({
    room: ROOMS[number % ROOMS.length] ?? '',
    event: 'new',
    data: `"${number} ${'n'.repeat((number * 37) % 2000)}"`,
    key: `${name} ${number}`,
  }));
}

async function postAll(server: ServerProcess, posts: readonly Post[], batchSize: number): Promise<Heard[]> {
  const posted: Heard[] = [];
  for (let from = 0; from < posts.length; from += batchSize) {
    const batch = posts.slice(from, from + batchSize);
    const results = await post(server, batch);
    batch.forEach((one, index) => {
      const result = results[index];
      if (result?.duplicate !== false)
        throw new Error(`posting ${one.key} answered ${JSON.stringify(result)}`);
      posted.push(heard({ ...one, id: result.id }));
    });
  }
  return posted;
}

async function post({ url }: ServerProcess, batch: readonly Post[]): Promise<Result[]> {
  const items = batch.map(({ data: dataText, ...fields }) => {
    const others = JSON.stringify(fields).slice(1);
    return `{"data":${dataText},${others}`;
  });
  const answer = await fetch(`${url}/notify`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    body: `[${items.join()}]`,
  });
  if (answer.status !== 200) throw new Error(`posting answered ${answer.status} ${await answer.text()}`);
  const { results } = (await answer.json()) as { results: Result[] };
  return results;
}

async function checkKeys(server: ServerProcess, { keys }: Made): Promise<void> {
  const known = [...keys];
  const results = await post(
    server,
    known.map(([key, { room, event }]) => ({ room, event, data: '"second"', key })),
  );
  known.forEach(([key, { id }], index) => {
    const result = results[index];
    if (result?.duplicate !== true || result.id !== id)
      throw new Error(`the key ${key.slice(0, 20)} of ${id} answered ${JSON.stringify(result)}`);
  });
}

/** Keeps the notifications that come, as texts. */
class Listener {
  readonly id: string;
  readonly recovered: boolean;
  readonly #frames: string[] = [];
  #closed: number | undefined;
  #changed = () => {};

  private constructor(socket: WebSocket, welcome: { id: string; recovered: boolean }) {
    this.id = welcome.id;
    this.recovered = welcome.recovered;
    socket.on('message', frame => {
      const frameText = String(frame);
      if (!frameText.startsWith('{"type":"notification"')) return;
      this.#frames.push(frameText);
      this.#changed();
    });
    socket.on('close', code => {
      this.#closed = code;
      this.#changed();
    });
  }

  /** Resolves after the welcome. */
  static open({ url }: ServerProcess, since: string): Promise<Listener> {
    const rooms = ROOMS.map(room => `room=${encodeURIComponent(room)}`).join('&');
    const socket = new WebSocket(`${url.replace('http', 'ws')}/ws?${rooms}&since=${since}`);
    return new Promise((resolve, reject) => {
      // In the same turn: other frames may follow at once.
      socket.once('message', welcome => resolve(new Listener(socket, JSON.parse(String(welcome)))));
      socket.on('error', reject);
      socket.on('close', code => reject(new Error(`closed with ${code} before the welcome`)));
    });
  }

  /** Checks that exactly these came, and that the last one came last. */
  async hears(expected: readonly Heard[]): Promise<void> {
    const last = `{"type":"notification","id":"${idOf(expected.at(-1))}"`;
    while (this.#closed === undefined && this.#frames.at(-1)?.startsWith(last) !== true)
      await new Promise<void>(resolve => {
        this.#changed = resolve;
      });
    const came = this.#frames;
    expected.forEach((wanted, index) => {
      const frame = came[index] ?? `the end, closed with ${this.#closed}`;
      if (isFrameOf(frame, wanted)) return;
      const what = frame.includes(`"id":"${wanted.id}"`) ? 'is not as it was posted' : 'is missing';
      throw new Error(
        `of ${expected.length}, number ${index}, ${wanted.id}, ${what}; came: ${shortened(frame)}`,
      );
    });
    if (came.length > expected.length) throw new Error(`${came.length} came instead of ${expected.length}`);
  }
}

function isFrameOf(frame: string, { id, event, data: dataText }: Heard): boolean {
  return (
    frame.startsWith(`{"type":"notification","id":"${id}","room":`) &&
    frame.endsWith(`,"event":${JSON.stringify(event)},"data":${dataText}}`)
  );
}

function heard({ id, event, data: dataText }: Heard): Heard {
  return { id, event, data: dataText };
}

function idOf(entry: Heard | undefined): string {
  if (entry === undefined) throw new Error('nothing was posted');
  return entry.id;
}

async function end(server: ServerProcess, signal: NodeJS.Signals): Promise<void> {
  const code = await server.stop(signal);
  const expected = signal === 'SIGTERM' ? 0 : null;
  if (code !== expected) throw new Error(`${signal} ended it with ${code}: ${lastOf(server)}`);
}

/** The last line of its log that is no good news. */
function lastOf(server: ServerProcess): string {
  const lines = server.output().split('\n');
  return shortened(lines.filter(line => !line.startsWith('{"level":30,')).join('\n'));
}

function shortened(long: string): string {
  return long.length <= 200 ? long : `${long.slice(0, 200)} …`;
}

/** Calls `use` for each item, some at a time. */
async function together<T>(items: readonly T[], use: (item: T, number: number) => Promise<void>) {
  const queue = items.entries();
  await Promise.all(
    Array.from({ length: AT_A_TIME }, async () => {
      for (const [number, item] of queue) await use(item, number);
    }),
  );
}

/** Counts the outcomes of each kind of damage. */
class Tally {
  readonly #counts: Map<string, Map<(typeof OUTCOMES)[number], number>>;

  constructor(kinds: readonly string[]) {
    this.#counts = new Map(kinds.map(kind => [kind, new Map()]));
  }

  add(kind: string, became: (typeof OUTCOMES)[number]): void {
    const counts = this.#counts.get(kind);
    counts?.set(became, (counts.get(became) ?? 0) + 1);
  }

  toString(): string {
    return [...this.#counts]
      .map(([kind, counts]) => {
        const parts = OUTCOMES.flatMap(became => {
          const count = counts.get(became);
          return count === undefined ? [] : [`${count} ${became}`];
        });
        return `${kind}: ${parts.join(', ')}`;
      })
      .join('; ');
  }
}

function rewrite(path: string, change: (bytes: Buffer) => Buffer): void {
  writeFileSync(path, change(readFileSync(path)));
}

function flipIn(bytes: Buffer, flips: readonly Flip[]): Buffer {
  for (const { at, xor } of flips) bytes[at] = (bytes[at] ?? 0) ^ xor;
  return bytes;
}

/** For a programmer who looks for the reason: the page, its flags, and the position in it. */
function placeIn(bytes: Buffer, at: number): string {
  const page = Math.floor(at / PAGE);
  return `page ${page}, flags ${flagsOf(bytes, page)}, + ${at % PAGE}`;
}

function keep(original: string, name: string, damage: (path: string) => void): void {
  const folder = KEEP ?? '';
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${name}.lmdb`);
  copyFileSync(original, path);
  damage(path);
}
