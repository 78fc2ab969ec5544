import { describe, expect, it } from '@jest/globals';
import { Gatherer } from '../../src/sources/gatherer.js';

/** A gatherer whose chunks are handled when the test says so. */
function make() {
  const chunks: number[][] = [];
  const finish: (() => void)[] = [];
  let arrived = () => {};
  const gatherer = new Gatherer<number>(
    chunk =>
      new Promise(resolve => {
        chunks.push(chunk);
        finish.push(resolve);
        arrived();
      }),
  );
  const next = () =>
    new Promise<void>(resolve => {
      arrived = resolve;
    });
  return { gatherer, chunks, finish: () => finish.shift()?.(), next };
}

describe('a gatherer', () => {
  it('hands over in one chunk what came in one turn, and the next while that one is handled', async () => {
    const { gatherer, chunks, finish, next } = make();
    const first = next();
    for (const item of [1, 2, 3]) gatherer.push(item);
    await first;
    for (const item of [4, 5]) gatherer.push(item);
    expect(chunks).toEqual([[1, 2, 3]]);
    expect(gatherer.size).toBe(2);
    const second = next();
    finish();
    await second;
    expect(chunks).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
    finish();
    await gatherer.clear();
  });

  it('forgets what waits when it is cleared, but not what is being handled', async () => {
    const { gatherer, chunks, finish, next } = make();
    const first = next();
    gatherer.push(1);
    await first;
    gatherer.push(2);
    let isCleared = false;
    const clearing = gatherer.clear().then(() => {
      isCleared = true;
    });
    await new Promise(resolve => setImmediate(resolve));
    expect(isCleared).toBe(false);
    finish();
    await clearing;
    expect(chunks).toEqual([[1]]);
    const later = next();
    gatherer.push(3);
    await later;
    expect(chunks).toEqual([[1], [3]]);
    finish();
  });
});
