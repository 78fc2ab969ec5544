import { describe, expect, it } from '@jest/globals';
import type { ServerProcess } from '../support/process.js';
import {
  type Beat,
  openFilesLimit,
  publish,
  quantile,
  type Receipt,
  startListeners,
  startPulse,
  startVictim,
  tell,
} from '../support/victim.js';

// A page does not notice that.
const LATEST_MS = 250;
const MEDIAN_MS = 100;
const PULSE_MS = 10;
const MOST_FAULTS = 10;
// A batch is at most 8 MiB.
const MOST_BYTES = 8 * 1024 * 1024;

// As many as one process has sockets for, besides its others.
const LISTENERS = Math.min(15_000, openFilesLimit() - 1000);

interface Results {
  results: (Partial<Receipt> & { error?: { status: number; code: string; errors: unknown[] } })[];
}

describe('a body as large as one may be', () => {
  it.each([
    ['1,000 items with 8 KB of rooms that are none each', 1000, () => rooms(8_000)],
    ['80 items with 100 KB of rooms that are none each', 80, () => rooms(98_000)],
    ['80 items with 11,000 fields that are none each', 80, () => fields(11_000)],
    ['1,000 items with 1,000 fields that are none each', 1000, () => fields(1000)],
  ])(
    'is refused item by item, and keeps nobody waiting: %s',
    async (what, count, itemOf) => {
      const server = await startVictim();
      const item = itemOf();
      const body = `[${Array.from({ length: count }, () => item).join()}]`;
      expect(body.length).toBeLessThan(MOST_BYTES);
      const { answer, beats } = await watched(server, () => publish<Results>(server, body));
      judge(what, beats);
      expect(answer.status).toBe(207);
      expect(answer.body.results).toHaveLength(count);
      for (const { error } of answer.body.results) {
        expect(error).toMatchObject({ status: 400, code: 'invalid_notification' });
        expect(error?.errors.length).toBeLessThanOrEqual(MOST_FAULTS);
      }
    },
    40_000,
  );

  it('is refused with few faults where it is one notification', async () => {
    const server = await startVictim();
    for (const item of [rooms(98_000), fields(11_000)]) {
      const { status, body } = await publish<{ errors: unknown[] }>(server, item);
      expect(status).toBe(400);
      expect(body.errors.length).toBeLessThanOrEqual(MOST_FAULTS);
    }
  });
});

describe('much for many', () => {
  it.each([
    ['a batch of 1,000 to a room', 1000, { room: 'public.many' }],
    ['a batch of 1,000 to everyone', 1000, { everyone: true }],
    ['one to everyone', 1, { everyone: true }],
  ])(
    `keeps nobody waiting, and comes in order: %s, with ${LISTENERS} listeners`,
    async (what, size, address) => {
      // The listeners answer no pings.
      const server = await startVictim({ PING_SECONDS: '3600' });
      const listeners = await startListeners(server, LISTENERS, 'public.many');
      const batch = Array.from({ length: size }, () => ({ ...address, event: 'e' }));
      const {
        answer: [{ status, body }, heard],
        beats,
      } = await watched(server, async () => {
        const answer = await publish<Results>(server, batch);
        return [answer, await listeners.heard(String(answer.body.results.at(-1)?.id))] as const;
      });
      judge(`${what} with ${LISTENERS} listeners`, beats);
      expect(status).toBe(200);
      const ids = body.results.map(({ id }) => id);
      expect(heard).toMatchObject({ ids, alike: true, closed: 0 });
      expect(body.results.every(({ connections }) => connections === LISTENERS)).toBe(true);
    },
    80_000,
  );
});

/** The answer, and the beats meanwhile. */
async function watched<T>(
  server: ServerProcess,
  act: () => Promise<T>,
): Promise<{ answer: T; beats: Beat[] }> {
  const pulse = await startPulse(server, PULSE_MS);
  const answer = await act();
  return { answer, beats: await pulse.stop() };
}

function judge(what: string, beats: readonly Beat[]): void {
  const took = beats.map(beat => beat.took);
  const [median, latest] = [quantile(took, 0.5), quantile(took, 1)];
  tell(what, { 'live median ms': median, 'live latest ms': latest, beats: beats.length });
  expect(beats.every(({ ok }) => ok)).toBe(true);
  expect(latest).toBeLessThan(LATEST_MS);
  expect(median).toBeLessThan(MEDIAN_MS);
}

/** One notification with so many bytes of wrong room names. */
function rooms(bytes: number): string {
  return JSON.stringify({ rooms: Array.from({ length: bytes / 4 }, () => '!'), event: 'e' });
}

/** One notification with so many unknown fields. */
function fields(count: number): string {
  const unknown = Array.from({ length: count }, (_, index) => [index.toString(36), 0]);
  return JSON.stringify({ room: 'public.a', event: 'e', ...Object.fromEntries(unknown) });
}
