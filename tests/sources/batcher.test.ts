import { describe, expect, it } from '@jest/globals';
import { Batcher } from '../../src/sources/batcher.js';

/** A batcher whose batches are finished when the test says so. */
function make() {
  const batches: number[][] = [];
  const finish: (() => void)[] = [];
  let arrived = () => {};
  const batcher = new Batcher<number>(
    batch =>
      new Promise(resolve => {
        batches.push(batch);
        finish.push(resolve);
        arrived();
      }),
  );
  const next = () =>
    new Promise<void>(resolve => {
      arrived = resolve;
    });
  return { batcher, batches, finish: () => finish.shift()?.(), next };
}

describe('a batcher', () => {
  it('hands over what came in one turn as one batch, and the next batch when that one is finished', async () => {
    const { batcher, batches, finish, next } = make();
    const first = next();
    for (const item of [1, 2, 3]) batcher.push(item);
    await first;
    for (const item of [4, 5]) batcher.push(item);
    expect(batches).toEqual([[1, 2, 3]]);
    expect(batcher.size).toBe(2);
    const second = next();
    finish();
    await second;
    expect(batches).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
    finish();
    await batcher.clear();
  });

  it('drops what waits when it is cleared, but not the batch that is being handled', async () => {
    const { batcher, batches, finish, next } = make();
    const first = next();
    batcher.push(1);
    await first;
    batcher.push(2);
    let isCleared = false;
    const clearing = batcher.clear().then(() => {
      isCleared = true;
    });
    await new Promise(resolve => setImmediate(resolve));
    expect(isCleared).toBe(false);
    finish();
    await clearing;
    expect(batches).toEqual([[1]]);
    const later = next();
    batcher.push(3);
    await later;
    expect(batches).toEqual([[1], [3]]);
    finish();
  });
});
