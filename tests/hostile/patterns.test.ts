import { describe, expect, it } from '@jest/globals';
import { connect, type TestClient, token } from '../support/client.js';
import type { ServerProcess } from '../support/process.js';
import { cpuMs, startVictim, tell } from '../support/victim.js';

// For a hundred answers to a hundred frames: a millisecond for each.
const MOST_CPU_MS = 100;
const MOST_STARRED = 100;
const MOST_ENTRIES = 1000;
const PATTERNS = 60;
const NAMES = 100;
const NAMES_PER_CONNECTION = 19;
const end = (index: number) => String.fromCharCode(98 + (index % 25));
const names = Array.from({ length: NAMES }, (_, index) => 'a'.repeat(200 - String(index).length) + index);

describe('a token whose patterns are hard to match', () => {
  it.each([
    ['one star before a long word', (index: number) => `*${'a'.repeat(100)}${end(index)}`],
    ['many stars', (index: number) => `${'*a'.repeat(50)}${end(index)}`],
    ['a star in the middle', (index: number) => `a*${'a'.repeat(99)}${end(index)}`],
  ])(
    'costs no more than another: %s',
    async (what, patternOf) => {
      const patterns = Array.from({ length: PATTERNS }, (_, index) => patternOf(index));
      const server = await startVictim();
      // The very first frames cost more: they do not count.
      await ask(server, ['b*']);
      await ask(server, ['b*']);
      const before = cpuMs(server);
      await ask(server, patterns);
      const cpu = cpuMs(server) - before;
      tell(`${NAMES} names against ${PATTERNS} patterns, ${what}`, { 'CPU ms': cpu });
      expect(cpu).toBeLessThan(MOST_CPU_MS);
    },
    20_000,
  );

  it('costs no more where the names are in the address', async () => {
    const patterns = Array.from({ length: PATTERNS }, (_, index) => `*${'a'.repeat(100)}${end(index)}`);
    const server = await startVictim();
    // As many as fit into 16 KiB together with the token.
    const rooms = names.slice(0, 19);
    const warm = await connect(ws(server, `?rooms=${rooms.join()}`));
    await errorsOf(warm, rooms.length);
    const before = cpuMs(server);
    const client = await connect(ws(server, `?token=${token({ rooms: patterns })}&rooms=${rooms.join()}`));
    await errorsOf(client, rooms.length);
    const cpu = cpuMs(server) - before;
    tell(`${rooms.length} names in the address against ${PATTERNS} patterns`, { 'CPU ms': cpu });
    expect(cpu).toBeLessThan(MOST_CPU_MS);
  }, 20_000);
});

describe('a token with very many rooms', () => {
  const starred = (count: number) => Array.from({ length: count }, (_, index) => `r${index}.*`);
  const plain = (count: number) => Array.from({ length: count }, (_, index) => `r${index}`);

  it.each([
    ['patterns with a star', starred(MOST_STARRED), 'r7.a'],
    ['names', plain(MOST_ENTRIES), 'r999'],
    ['both', [...starred(MOST_STARRED), ...plain(MOST_ENTRIES - MOST_STARRED)], 'r99.a'],
  ])('is taken up to the limit: %s', async (_, rooms, room) => {
    const client = await connect(ws(await startVictim(), `?token=${token({ rooms })}`));
    expect(await client.next()).toMatchObject({ type: 'welcome' });
    client.send({ type: 'subscribe', room });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room });
  });

  it.each([
    ['patterns with a star', starred(MOST_STARRED + 1), /100/],
    ['names', plain(MOST_ENTRIES + 1), /1,?000/],
  ])('is refused above it, with words: %s', async (_, rooms, limit) => {
    const client = await connect(ws(await startVictim(), `?token=${token({ rooms })}`));
    const first = await client.next();
    expect(first).toMatchObject({ type: 'error', code: 'invalid_token' });
    expect(first.message).toMatch(limit);
    expect((await client.closed).code).toBe(4501);
  });
});

function ws({ port }: ServerProcess, query: string): string {
  return `ws://127.0.0.1:${port}/ws${query}`;
}

/** Asks for all names, of which none may be joined. Several connections share them: too many errors close one. */
async function ask(server: ServerProcess, patterns: readonly string[]): Promise<void> {
  const url = ws(server, `?token=${token({ rooms: patterns })}`);
  for (let from = 0; from < names.length; from += NAMES_PER_CONNECTION) {
    const some = names.slice(from, from + NAMES_PER_CONNECTION);
    const client = await connect(url);
    for (const room of some) client.send({ type: 'subscribe', room });
    await errorsOf(client, some.length);
  }
}

async function errorsOf(client: TestClient, count: number): Promise<void> {
  for (let errors = 0; errors < count; errors++)
    expect(await client.nextOf('error')).toMatchObject({ code: 'forbidden' });
}
