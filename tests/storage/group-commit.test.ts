import { afterEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { GroupCommit } from '../../src/storage/group-commit.js';

const AMPLE = { maxItems: 100, maxBytes: 1000 };

/** A commit that is under way until the test says how it ends. */
interface Commit {
  readonly items: readonly number[];
  /** Each item has the result `result of <item>`. */
  succeed(): void;
  fail(error: unknown): void;
}

function make(limits: Partial<typeof AMPLE> = {}) {
  const begun: Commit[] = [];
  let underWay = 0;
  let arrived = () => {};
  const commits = new GroupCommit<number, string>({
    ...AMPLE,
    ...limits,
    commit: items =>
      new Promise((resolve, reject) => {
        expect(++underWay).toBe(1);
        const end = (settle: () => void) => () => {
          underWay--;
          settle();
        };
        begun.push({
          items: [...items],
          succeed: end(() => resolve(items.map(item => `result of ${item}`))),
          fail: error => end(() => reject(error))(),
        });
        arrived();
      }),
  });
  /** The commit with this number, as soon as it has begun. */
  async function commit(number: number): Promise<Commit> {
    for (;;) {
      const found = begun[number];
      if (found !== undefined) return found;
      await new Promise<void>(resolve => {
        arrived = resolve;
      });
    }
  }
  const add = (item: number, bytes = 1) => commits.add(item, bytes);
  return { commits, add, commit, groups: () => begun.map(({ items }) => items) };
}

describe('a group commit', () => {
  afterEach(() => {
    jest.restoreAllMocks();
  });

  it('commits together what is added in one turn, and gives each its own result', async () => {
    const { add, commit, groups } = make();
    const adding = [1, 2, 3].map(item => add(item));
    (await commit(0)).succeed();
    expect(await Promise.all(adding)).toEqual(['result of 1', 'result of 2', 'result of 3']);
    expect(groups()).toEqual([[1, 2, 3]]);
  });

  it('answers nobody before the commit is done', async () => {
    const { add, commit } = make();
    let answers = 0;
    const adding = [1, 2].map(async item => {
      await add(item);
      answers++;
    });
    const first = await commit(0);
    await turns(5);
    expect(answers).toBe(0);
    first.succeed();
    await Promise.all(adding);
  });

  it('commits what is added during a commit in the next one, when that one is done', async () => {
    const { add, commit, groups } = make();
    const adding = [add(1)];
    const first = await commit(0);
    adding.push(add(2));
    await turns(5);
    adding.push(add(3));
    await turns(5);
    expect(groups()).toEqual([[1]]);
    first.succeed();
    const second = await commit(1);
    adding.push(add(4));
    expect(second.items).toEqual([2, 3]);
    second.succeed();
    (await commit(2)).succeed();
    expect(await Promise.all(adding)).toEqual([1, 2, 3, 4].map(item => `result of ${item}`));
    expect(groups()).toEqual([[1], [2, 3], [4]]);
  });

  it('puts no more items into a commit than it may, and keeps their order', async () => {
    const { add, commit, groups } = make({ maxItems: 3 });
    const items = [1, 2, 3, 4, 5, 6, 7];
    const adding = items.map(item => add(item));
    for (const number of [0, 1, 2]) (await commit(number)).succeed();
    expect(await Promise.all(adding)).toEqual(items.map(item => `result of ${item}`));
    expect(groups()).toEqual([[1, 2, 3], [4, 5, 6], [7]]);
  });

  it('puts no more into a commit that has as many bytes as it may', async () => {
    const { add, commit, groups } = make({ maxBytes: 10 });
    const sizes = [4, 6, 9, 1, 50, 5, 3, 3];
    const adding = sizes.map((bytes, item) => add(item, bytes));
    for (const number of [0, 1, 2, 3]) (await commit(number)).succeed();
    expect(await Promise.all(adding)).toEqual(sizes.map((_, item) => `result of ${item}`));
    expect(groups()).toEqual([[0, 1], [2, 3], [4], [5, 6, 7]]);
  });

  it('rejects all items of a commit that fails, and those behind it, which it does not try', async () => {
    const { add, commit, groups } = make({ maxItems: 2 });
    const adding = [1, 2, 3, 4, 5].map(item => add(item));
    const results = Promise.allSettled(adding);
    const error = new Error('the disk is full');
    (await commit(0)).fail(error);
    expect(await results).toEqual(adding.map(() => ({ status: 'rejected', reason: error })));
    await turns(5);
    expect(groups()).toEqual([[1, 2]]);
  });

  it('leaves what was committed before a failure as it is', async () => {
    const { add, commit } = make({ maxItems: 1 });
    const adding = [1, 2, 3].map(item => add(item));
    const results = Promise.allSettled(adding);
    (await commit(0)).succeed();
    (await commit(1)).fail(new Error('the disk is full'));
    expect((await results).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
  });

  it('takes up again what comes after a failure', async () => {
    const { add, commit, groups } = make();
    for (const [number, item] of [1, 2, 3].entries()) {
      const failing = expect(add(item)).rejects.toThrow(`no room for ${item}`);
      (await commit(2 * number)).fail(new Error(`no room for ${item}`));
      await failing;
      const adding = add(10 * item);
      (await commit(2 * number + 1)).succeed();
      expect(await adding).toBe(`result of ${10 * item}`);
    }
    expect(groups()).toEqual([[1], [10], [2], [20], [3], [30]]);
  });

  it('tries again at once what is added again as soon as it was rejected, also while others wait behind it', async () => {
    const { add, commit, groups } = make();
    const again = add(1).catch(() => add(1));
    const first = await commit(0);
    const behind = expect(add(2)).rejects.toThrow('once');
    first.fail(new Error('once'));
    await behind;
    (await commit(1)).succeed();
    expect(await again).toBe('result of 1');
    expect(groups()).toEqual([[1], [1]]);
  });

  it('takes a commit that throws before it begins for one that fails', async () => {
    let isBroken = true;
    const commits = new GroupCommit<number, number>({
      ...AMPLE,
      commit: items => {
        if (isBroken) throw new Error('not open');
        return Promise.resolve(items);
      },
    });
    await expect(commits.add(1, 1)).rejects.toThrow('not open');
    isBroken = false;
    expect(await commits.add(2, 1)).toBe(2);
  });

  it('is idle at once where nothing was added, and later when all that was added is done', async () => {
    const { commits, add, commit } = make({ maxItems: 1 });
    await commits.idle();
    const adding = [1, 2].map(item => add(item));
    let isIdle = false;
    const idle = commits.idle().then(() => {
      isIdle = true;
    });
    (await commit(0)).succeed();
    const second = await commit(1);
    await turns(5);
    expect(isIdle).toBe(false);
    second.succeed();
    await idle;
    await Promise.all(adding);
  });

  it('is idle, too, when what was added has failed', async () => {
    const { commits, add, commit } = make({ maxItems: 1 });
    const results = Promise.allSettled([1, 2].map(item => add(item)));
    const idle = commits.idle();
    (await commit(0)).fail(new Error('the disk is full'));
    await idle;
    await commits.idle();
    expect((await results).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });

  it('tells whether items wait for their commit', async () => {
    const { commits, add, commit } = make();
    expect(commits.isWaiting).toBe(false);
    const adding = [add(1)];
    expect(commits.isWaiting).toBe(true);
    const first = await commit(0);
    expect(commits.isWaiting).toBe(false);
    adding.push(add(2));
    expect(commits.isWaiting).toBe(true);
    first.succeed();
    const second = await commit(1);
    expect(commits.isWaiting).toBe(false);
    second.succeed();
    await Promise.all(adding);
    expect(commits.isWaiting).toBe(false);
  });

  it('waits for those who come back one after the other, as many as last time', async () => {
    // No time goes by.
    jest.spyOn(performance, 'now').mockReturnValue(0);
    const { add, commit, groups } = make();
    const first = [1, 2, 3].map(item => add(item));
    (await commit(0)).succeed();
    await Promise.all(first);
    const second: Promise<string>[] = [];
    for (const item of [4, 5, 6]) {
      second.push(add(item));
      await turns(3);
    }
    (await commit(1)).succeed();
    await Promise.all(second);
    expect(groups()).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
  });

  it('waits for them no longer than a millisecond', async () => {
    let now = 0;
    jest.spyOn(performance, 'now').mockImplementation(() => now);
    const { add, commit } = make();
    const first = [1, 2, 3].map(item => add(item));
    (await commit(0)).succeed();
    await Promise.all(first);
    const alone = add(4);
    await turns(3);
    now += 1.1;
    const second = await commit(1);
    expect(second.items).toEqual([4]);
    second.succeed();
    await alone;
    // It learns that there are fewer now: the next one is not waited for.
    const next = add(5);
    (await commit(2)).succeed();
    await next;
  });

  it('keeps to all of this in any mix of items, ends and failures', async () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant('add' as const), bytes: fc.nat(6) }) },
      { weight: 2, arbitrary: fc.constant({ do: 'turn' as const }) },
      { weight: 2, arbitrary: fc.constant({ do: 'succeed' as const }) },
      { weight: 1, arbitrary: fc.constant({ do: 'fail' as const }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async steps => {
        await new Mix().run(steps);
      }),
      { numRuns: 200 },
    );
  });
});

type Step = { readonly do: 'add'; readonly bytes: number } | { readonly do: 'turn' | 'succeed' | 'fail' };

/** A group commit of at most 4 items, or 10 bytes and what makes them more, beside what it should have done. */
class Mix {
  readonly #limits = { maxItems: 4, maxBytes: 10 };
  readonly #made = make(this.#limits);
  readonly #bytes: number[] = [];
  readonly #adding: Promise<string>[] = [];
  /** Of each item that has come to its end. */
  readonly #outcomes = new Map<number, string>();
  readonly #expected = new Map<number, string>();
  #ended = 0;

  async run(steps: readonly Step[]): Promise<void> {
    for (const step of steps) await this.#do(step);
    const idle = this.#made.commits.idle();
    while (this.#expected.size < this.#bytes.length)
      await this.#end(await this.#made.commit(this.#ended), true);
    await idle;
    await Promise.allSettled(this.#adding);
    expect(this.#outcomes).toEqual(this.#expected);
    for (const items of this.#made.groups()) this.#expectAllowed(items);
  }

  async #do(step: Step): Promise<void> {
    if (step.do === 'turn') return turns(1);
    if (step.do === 'add') return this.#add(step.bytes);
    if (this.#expected.size === this.#bytes.length) return;
    await this.#end(await this.#made.commit(this.#ended), step.do === 'succeed');
  }

  #add(bytes: number): void {
    const item = this.#bytes.push(bytes) - 1;
    const adding = this.#made.add(item, bytes);
    adding.then(
      result => this.#outcomes.set(item, result),
      (error: Error) => this.#outcomes.set(item, error.message),
    );
    this.#adding.push(adding);
  }

  async #end(commit: Commit, isGood: boolean): Promise<void> {
    const number = this.#ended++;
    // The oldest that have not come to their end, in order.
    const oldest = this.#expected.size;
    expect(commit.items).toEqual(commit.items.map((_, index) => oldest + index));
    for (const item of isGood ? commit.items : this.#bytes.keys())
      if (!this.#expected.has(item))
        this.#expected.set(item, isGood ? `result of ${item}` : `failure ${number}`);
    if (isGood) commit.succeed();
    else commit.fail(new Error(`failure ${number}`));
    // Its items know before anything else comes.
    await Promise.allSettled(commit.items.map(item => this.#adding[item]));
  }

  #expectAllowed(items: readonly number[]): void {
    const bytesOf = (some: readonly number[]) =>
      some.reduce((sum, item) => sum + (this.#bytes[item] ?? 0), 0);
    expect(items.length).toBeGreaterThan(0);
    expect(items.length).toBeLessThanOrEqual(this.#limits.maxItems);
    expect(bytesOf(items.slice(0, -1))).toBeLessThan(this.#limits.maxBytes);
  }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve));
}
