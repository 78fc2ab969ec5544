import { describe, expect, it } from '@jest/globals';
import { Counts } from '../../src/journal/counts.js';

const BOUND_MS = 30;

describe('what all nodes tell of an entry', () => {
  it('is added up, whether it comes before or after it is asked for', async () => {
    const counts = new Counts(BOUND_MS);
    counts.begin(1, ['a', 'b']);
    counts.add(1, 'a', 3);
    const total = counts.total(1);
    counts.add(1, 'b', 4);
    expect(await total).toEqual({ connections: 7, partial: false });
    await counts.idle();
  });

  it('is partial where one has not told within the bound', async () => {
    const counts = new Counts(BOUND_MS);
    counts.begin(1, ['a', 'b']);
    counts.add(1, 'a', 3);
    const asked = performance.now();
    expect(await counts.total(1)).toEqual({ connections: 3, partial: true });
    expect(performance.now() - asked).toBeGreaterThanOrEqual(BOUND_MS - 1);
    counts.add(1, 'b', 4);
    await counts.idle();
  });

  it('is not waited for from one that is gone', async () => {
    const counts = new Counts(60_000);
    counts.begin(1, ['a', 'b']);
    counts.begin(2, ['a', 'b']);
    const totals = Promise.all([counts.total(1), counts.total(2)]);
    counts.add(2, 'a', 2);
    counts.keepOnly(new Set(['a']));
    counts.add(1, 'a', 1);
    expect(await totals).toEqual([
      { connections: 1, partial: false },
      { connections: 2, partial: false },
    ]);
    await counts.idle();
  });

  it('is believed once, of those who are waited for, and where it is a number', async () => {
    const counts = new Counts(60_000);
    counts.begin(1, ['a', 'b']);
    const total = counts.total(1);
    counts.add(1, 'a', 1);
    counts.add(1, 'a', 100);
    counts.add(1, 'stranger', 100);
    counts.add(1, 'b', Number.NaN);
    counts.add(7, 'b', 100);
    counts.add(1, 'b', 2);
    expect(await total).toEqual({ connections: 3, partial: false });
    await counts.idle();
  });

  it('is idle when nothing is open, also where it is forgotten', async () => {
    const counts = new Counts(60_000);
    await counts.idle();
    counts.begin(1, ['a']);
    const idle = counts.idle();
    counts.forget(1);
    await idle;
    expect(await counts.total(1)).toEqual({ connections: 0, partial: true });
  });

  it('waits no more for a node that told nothing in time, until it speaks again', async () => {
    const counts = new Counts(20);
    counts.begin(1, ['a', 'silent']);
    counts.begin(2, ['a', 'silent']);
    counts.add(1, 'a', 3);
    counts.add(2, 'a', 4);
    // The first silence is waited for once, whatever else is open.
    const first = await Promise.all([counts.total(1), counts.total(2)]);
    expect(first).toEqual([
      { connections: 3, partial: true },
      { connections: 4, partial: true },
    ]);
    counts.begin(3, ['a', 'silent']);
    counts.add(3, 'a', 5);
    const turn = new Promise(resolve => setImmediate(() => resolve('waited')));
    expect(await Promise.race([counts.total(3), turn])).toEqual({ connections: 5, partial: true });
    counts.hear('silent');
    counts.begin(4, ['a', 'silent']);
    counts.add(4, 'a', 1);
    counts.add(4, 'silent', 1);
    expect(await counts.total(4)).toEqual({ connections: 2, partial: false });
    await counts.idle();
  });
});
