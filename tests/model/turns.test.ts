import { describe, expect, it } from '@jest/globals';
import { inTurns, Turns } from '../../src/model/turns.js';

/** Keeps the event loop busy. */
function work(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

/** How many turns of the event loop go by until something is done. */
async function turnsUntil(done: Promise<unknown>): Promise<number> {
  let isDone = false;
  void done.finally(() => {
    isDone = true;
  });
  let turns = 0;
  while (!isDone) {
    await new Promise(resolve => setImmediate(resolve));
    turns++;
  }
  return turns;
}

describe('work that is too much for one turn', () => {
  it('goes on in the next ones, in order, and others get theirs in between', async () => {
    const served: number[] = [];
    const done = new Promise<void>(resolve => {
      const turns = new Turns<number>(item => {
        work(2);
        served.push(item);
        if (item === 19) resolve();
      });
      for (let item = 0; item < 20; item++) turns.push(item);
    });
    // 40 ms of work, at most 5 ms (and one item) in a turn.
    expect(await turnsUntil(done)).toBeGreaterThanOrEqual(5);
    expect(served).toEqual([...Array(20).keys()]);
  });

  it('serves in the next turn what is pushed meanwhile', async () => {
    const served: string[] = [];
    const turns = new Turns<string>(
      item => {
        served.push(item);
        if (item === 'a') turns.push('b');
      },
      () => served.push('end'),
    );
    turns.push('a');
    await new Promise(resolve => setImmediate(resolve));
    await new Promise(resolve => setImmediate(resolve));
    expect(served).toEqual(['a', 'end', 'b', 'end']);
  });

  it('is spread in the same way over the items of a list', async () => {
    const done: number[] = [];
    const turns = await turnsUntil(
      inTurns(Array(20).keys(), item => {
        work(2);
        done.push(item);
      }),
    );
    expect(turns).toBeGreaterThanOrEqual(5);
    expect(done).toEqual([...Array(20).keys()]);
  });

  it('rejects with what goes wrong in it', async () => {
    const failing = inTurns([1, 2], item => {
      if (item === 2) throw new Error('two');
    });
    await expect(failing).rejects.toThrow('two');
  });
});
