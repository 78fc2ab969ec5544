import { describe, expect, it } from '@jest/globals';
import { MemoryJournal } from '../../src/journal/memory.js';
import { following, journalContract, notification } from './journal-contract.js';
import { clockOf } from '../support/clock.js';
import { systemClock } from '../../src/model/clock.js';

journalContract('memory', ({ retention, now }) => new MemoryJournal(retention, clockOf(now)));

describe('a key in memory', () => {
  it('is remembered as long as the retention', async () => {
    let now = 1_763_856_000_000;
    const journal = new MemoryJournal(
      { seconds: 10, bytes: 1e6 },
      clockOf(() => now),
    );
    await journal.follow(following(() => undefined));
    const again = () => journal.append(notification('1', { key: 'k' }));
    const { id } = await again();
    now += 10_000;
    expect(await again()).toEqual({ id, duplicate: true });
    now += 1;
    expect(await again()).toMatchObject({ duplicate: false });
    expect(await again()).toMatchObject({ duplicate: true });
  });

  it('makes room for newer ones where there are too many', async () => {
    const journal = new MemoryJournal(
      { seconds: 600, bytes: 1024 },
      clockOf(() => 1_763_856_000_000),
    );
    await journal.follow(following(() => undefined));
    const duplicate = async (key: string) => (await journal.append(notification('1', { key }))).duplicate;
    for (let i = 0; i < 100; i++) expect(await duplicate(`key ${i}`)).toBe(false);
    expect(await duplicate('key 99')).toBe(true);
    expect(await duplicate('key 0')).toBe(false);
  });

  it('is refused before anybody follows', async () => {
    const journal = new MemoryJournal({ seconds: 600, bytes: 1e6 }, systemClock);
    expect(journal.status().available).toBe(false);
    await expect(journal.append(notification('1'))).rejects.toMatchObject({ code: 'unavailable' });
  });
  it('that is refused says when to try again', async () => {
    const journal = new MemoryJournal({ seconds: 600, bytes: 1e6 }, systemClock);
    await expect(journal.append(notification('1'))).rejects.toMatchObject({
      headers: { 'Retry-After': expect.stringMatching(/^\d+$/) },
    });
  });
});
