import { describe, expect, it } from '@jest/globals';
import { ANONYMOUS, type Identity } from '../../src/auth/identity.js';
import { type Revocation, Revocations } from '../../src/auth/revocations.js';
import { MemoryStores } from '../../src/storage/memory.js';
import type { Store } from '../../src/storage/store.js';

const START = 1_800_000_000_000;
const LIFETIME_SECONDS = 1000;
// Longer than nodes take to read the store, and than they take to forget.
const SOME_SECONDS_MS = 5000;
const AN_HOUR_MS = 3_600_000;
const FIRST = '';
const LAST = '\uffff';

/** Time that passes when a test says so, for all nodes. */
class Time {
  now = START;
  readonly #timers = new Set<{ readonly at: number; readonly run: () => void }>();

  readonly after = (milliseconds: number, run: () => void) => {
    const timer = { at: this.now + milliseconds, run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  };

  get timers(): number {
    return this.#timers.size;
  }

  /** Timers that fall due run one after the other, each with all that follows from it. */
  async pass(milliseconds: number): Promise<void> {
    for (const end = this.now + milliseconds; ; ) {
      const [next] = [...this.#timers].sort((a, b) => a.at - b.at);
      if (next === undefined || next.at > end) {
        this.now = end;
        return;
      }
      this.now = next.at;
      this.#timers.delete(next);
      next.run();
      await settled();
    }
  }
}

// A long list is read in pages, a turn of the event loop for each.
const MOST_PAGES = 5;

/** The store answers in microtasks: they are over in the next turn. */
async function settled(): Promise<void> {
  for (let page = 0; page < MOST_PAGES; page++) await new Promise(resolve => setImmediate(resolve));
}

/** A store that can be told to fail, or not to answer. */
class TestStore implements Store<Revocation> {
  readonly #store = new MemoryStores().open<Revocation>('revocations');
  fails = false;
  held: Promise<void> | undefined;
  reads = 0;

  put(key: string, value: Revocation) {
    return this.#ask(() => this.#store.put(key, value));
  }

  remove(key: string) {
    return this.#ask(() => this.#store.remove(key));
  }

  get(key: string) {
    return this.#ask(() => this.#store.get(key));
  }

  range(from: string, to: string, limit: number) {
    this.reads++;
    return this.#ask(() => this.#store.range(from, to, limit));
  }

  /** Everything in it, whether it fails or not. */
  all() {
    return this.#store.range(FIRST, LAST, 1e6);
  }

  async #ask<T>(what: () => Promise<T>): Promise<T> {
    await this.held;
    if (this.fails) throw new Error('the store fails');
    return what();
  }
}

function node(store: TestStore, time: Time, { isShared = false, ahead = 0 } = {}) {
  const failures: unknown[] = [];
  const closed: string[] = [];
  const revocations = new Revocations({
    open: () => store,
    isShared,
    lifetimeSeconds: LIFETIME_SECONDS,
    now: () => time.now + ahead,
    after: time.after,
    revoked: user => void closed.push(user),
    failed: error => void failures.push(error),
  });
  return { revocations, failures, closed };
}

async function started(store = new TestStore(), time = new Time(), options = {}) {
  const made = node(store, time, options);
  await made.revocations.start();
  return { ...made, store, time };
}

/** A user's token. @param at milliseconds since the epoch */
function issued(at: number | undefined, user: string | undefined = 'li'): Identity {
  return { ...ANONYMOUS, user, issuedAt: at === undefined ? undefined : at / 1000 };
}

describe('a revocation', () => {
  it('refuses the tokens that were issued in an earlier second, and those that do not say when', async () => {
    const { revocations, time } = await started();
    time.now = START + 5400;
    const refused = (at: number | undefined, user?: string) => revocations.isRevoked(issued(at, user));
    for (const at of [undefined, 0, START, START + 5400]) expect(refused(at)).toBe(false);
    expect(await revocations.revoke('li')).toEqual({ user: 'li', before: START + 5400 });
    for (const at of [undefined, 0, -1, START - 1e9, START, START + 4000, START + 4999])
      expect(refused(at)).toBe(true);
    // A backend may make a new one in the same second, and `iat` has seconds.
    for (const at of [START + 5000, START + 5399, START + 5400, START + 5401, START + 6000, START + 1e9])
      expect(refused(at)).toBe(false);
    expect(refused(START, 'ada')).toBe(false);
    expect(revocations.isRevoked(ANONYMOUS)).toBe(false);
  });

  it('of a user who was revoked before holds from the later moment on', async () => {
    const { revocations, time } = await started();
    await revocations.revoke('li');
    await time.pass(10_000);
    await revocations.revoke('li');
    expect(revocations.isRevoked(issued(START + 9999))).toBe(true);
    revocations.learn({ user: 'li', before: START + 3000 });
    expect(revocations.isRevoked(issued(START + 9999))).toBe(true);
    expect(revocations.isRevoked(issued(START + 10_000))).toBe(false);
  });

  it('is durable when it is answered, and holds after a restart', async () => {
    const { revocations, store, time } = await started();
    let release = () => {};
    store.held = new Promise(resolve => {
      release = resolve;
    });
    let isAnswered = false;
    const answered = revocations.revoke('li').then(() => {
      isAnswered = true;
    });
    await settled();
    expect(isAnswered).toBe(false);
    expect(await store.all()).toEqual([]);
    release();
    await answered;
    expect((await store.all()).map(([, value]) => value)).toEqual([{ user: 'li', before: START }]);
    revocations.stop();
    const again = await started(store, time);
    expect(again.revocations.isRevoked(issued(START - 1000))).toBe(true);
  });

  it.each([1000, 1001, 3000])('holds after a restart though there are %i of them', async count => {
    const { revocations, store, time } = await started();
    for (let user = 0; user < count; user++) {
      // Many in one millisecond, too.
      if (user % 10 === 0) time.now++;
      await revocations.revoke(`u${user}`);
    }
    const again = await started(store, time);
    expect(again.revocations.size).toBe(count);
    for (let user = 0; user < count; user++)
      expect(again.revocations.isRevoked(issued(START - 1000, `u${user}`))).toBe(true);
  });

  it('is forgotten when the last token that it could concern is over, and not before', async () => {
    const { revocations, store, time } = await started();
    await revocations.revoke('li');
    await time.pass(LIFETIME_SECONDS * 1000);
    // The last moment of the last token.
    expect(revocations.isRevoked(issued(START - 1000))).toBe(true);
    const young = await started(store, time);
    expect(young.revocations.isRevoked(issued(START - 1000))).toBe(true);
    expect(await store.all()).toHaveLength(1);
    await time.pass(2 * AN_HOUR_MS);
    expect(revocations.size).toBe(0);
    expect(revocations.isRevoked(issued(START - 1000))).toBe(false);
    expect(await store.all()).toEqual([]);
  });

  it('is forgotten at a start, too, in memory and in the store', async () => {
    const { revocations, store, time } = await started();
    await revocations.revoke('old');
    revocations.stop();
    time.now += 500_000;
    const later = await started(store, time);
    await later.revocations.revoke('young');
    later.revocations.stop();
    time.now = START + LIFETIME_SECONDS * 1000 + 1;
    const last = await started(store, time);
    expect(last.revocations.size).toBe(1);
    expect(last.revocations.isRevoked(issued(START, 'young'))).toBe(true);
    expect((await store.all()).map(([, { user }]) => user)).toEqual(['young']);
  });

  it('is forgotten though there are thousands of them', async () => {
    const { revocations, store, time } = await started();
    for (let user = 0; user < 2500; user++) await revocations.revoke(`u${user}`);
    await time.pass(2 * AN_HOUR_MS);
    expect(revocations.size).toBe(0);
    expect(await store.all()).toEqual([]);
  });

  it('is not forgotten if the user was revoked again meanwhile', async () => {
    const { revocations, store, time } = await started();
    await revocations.revoke('li');
    // The first is over in the next hour, the second is not.
    await time.pass(AN_HOUR_MS - 1000);
    await revocations.revoke('li');
    await time.pass(2000);
    expect(revocations.isRevoked(issued(START))).toBe(true);
    expect(await store.all()).toHaveLength(1);
  });

  it('that cannot be stored is an error, and holds when it is tried again', async () => {
    const { revocations, store } = await started();
    store.fails = true;
    await expect(revocations.revoke('li')).rejects.toThrow('the store fails');
    store.fails = false;
    await revocations.revoke('li');
    expect(revocations.isRevoked(issued(START - 1000))).toBe(true);
    expect(await store.all()).toHaveLength(1);
  });
});

describe('nodes that share a store', () => {
  const shared = { isShared: true };

  async function two({ ahead = 0 } = {}) {
    const [store, time] = [new TestStore(), new Time()];
    const one = await started(store, time, { ...shared, ahead });
    const other = await started(store, time, shared);
    return { one, other, store, time };
  }

  it('learn from each other within seconds, by reading', async () => {
    const { one, other, time } = await two();
    await one.revocations.revoke('li');
    await other.revocations.revoke('ada');
    await time.pass(SOME_SECONDS_MS);
    expect(other.revocations.isRevoked(issued(START - 1000, 'li'))).toBe(true);
    expect(one.revocations.isRevoked(issued(START - 1000, 'ada'))).toBe(true);
    // Each must close the connections that are open with these tokens, once.
    await time.pass(SOME_SECONDS_MS);
    expect([one.closed, other.closed]).toEqual([['ada'], ['li']]);
  });

  it('learn it at once from a message', async () => {
    const { one, other } = await two();
    other.revocations.learn(await one.revocations.revoke('li'));
    expect(other.revocations.isRevoked(issued(START - 1000))).toBe(true);
    expect(other.closed).toEqual([]);
  });

  it('write all again if the store has lost them', async () => {
    const { one, other, store, time } = await two();
    await one.revocations.revoke('li');
    await time.pass(10);
    await one.revocations.revoke('ada');
    for (const [key] of await store.all()) await store.remove(key);
    await time.pass(SOME_SECONDS_MS);
    expect((await store.all()).map(([, { user }]) => user)).toEqual(['li', 'ada']);
    expect(other.revocations.isRevoked(issued(START - 1000, 'li'))).toBe(true);
  });

  it('keep one record of a user', async () => {
    const { one, store, time } = await two();
    for (let times = 0; times < 3; times++) {
      await time.pass(10);
      await one.revocations.revoke('li');
    }
    expect(await store.all()).toHaveLength(1);
  });

  it.each([-59_000, -1000, 1000, 59_000])('learn though the clocks differ by %i ms', async ahead => {
    const { one, other, time } = await two({ ahead });
    for (let user = 0; user < 5; user++) {
      await time.pass(SOME_SECONDS_MS);
      await one.revocations.revoke(`u${user}`);
    }
    await time.pass(SOME_SECONDS_MS);
    for (let user = 0; user < 5; user++)
      expect(other.revocations.isRevoked(issued(START - 100_000, `u${user}`))).toBe(true);
  });

  it('learn what came while the store failed, however long that was', async () => {
    const { one, other, store, time } = await two();
    // The other cannot read for ten minutes. One can write all the time.
    for (let time10 = 0; time10 < 10; time10++) {
      store.fails = false;
      await one.revocations.revoke(`u${time10}`);
      store.fails = true;
      await time.pass(60_000);
    }
    expect(other.failures.length).toBeGreaterThan(0);
    expect(other.revocations.size).toBe(0);
    store.fails = false;
    await time.pass(SOME_SECONDS_MS);
    expect(other.revocations.size).toBe(10);
  });

  it('learn more than a thousand at once', async () => {
    const { one, other, time } = await two();
    for (let user = 0; user < 2500; user++) await one.revocations.revoke(`u${user}`);
    await time.pass(SOME_SECONDS_MS);
    expect(other.revocations.size).toBe(2500);
  });

  it('all forget, whoever of them removes the record', async () => {
    const { one, other, store, time } = await two();
    await one.revocations.revoke('li');
    await time.pass(SOME_SECONDS_MS);
    expect(other.revocations.size).toBe(1);
    await time.pass(2 * AN_HOUR_MS);
    expect([one.revocations.size, other.revocations.size]).toEqual([0, 0]);
    expect(await store.all()).toEqual([]);
  });

  it('read no more than they must: not all that there ever was', async () => {
    const { one, other, store, time } = await two();
    for (let user = 0; user < 2500; user++) await one.revocations.revoke(`u${user}`);
    await time.pass(120_000);
    const before = store.reads;
    await time.pass(2000);
    expect(other.revocations.size).toBe(2500);
    // One for each node, where all would be three.
    expect(store.reads - before).toBeLessThanOrEqual(2);
  });

  it('read nothing after they have stopped', async () => {
    const { one, other, store, time } = await two();
    one.revocations.stop();
    other.revocations.stop();
    const before = store.reads;
    await time.pass(SOME_SECONDS_MS);
    expect(store.reads).toBe(before);
    expect(time.timers).toBe(0);
  });

  it('do not go on after a stop in the middle of reading, and report nothing', async () => {
    const { one, store, time } = await two();
    let release = () => {};
    store.held = new Promise(resolve => {
      release = resolve;
    });
    await time.pass(3000);
    one.revocations.stop();
    store.fails = true;
    release();
    await settled();
    expect(one.failures).toEqual([]);
    await time.pass(SOME_SECONDS_MS);
    expect(one.failures).toEqual([]);
  });
});
