import { afterEach, beforeAll, expect, it } from '@jest/globals';
import { RedisStores } from '../../src/storage/redis.js';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { startProxy } from '../support/proxy.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { durableContract } from './durable-contract.js';
import { storeContract } from './store-contract.js';

describeWith(['redis'], 'stores in Redis', () => {
  let redis: RedisServer;
  let prefixes = 0;
  const made: RedisStores[] = [];
  beforeAll(async () => {
    redis = await startRedis();
  }, BROKER_TIMEOUT);

  afterEach(async () => {
    for (const stores of made.splice(0)) await stores.stop();
  });

  function newPrefix(): string {
    return `test-${prefixes++}-${Math.random()}`;
  }

  function make(prefix: string, url = redis.url, stopping = new AbortController().signal) {
    const failures: unknown[] = [];
    const stores = new RedisStores(url, prefix, error => failures.push(error), stopping);
    made.push(stores);
    return { stores, failures };
  }

  async function open(prefix: string, url = redis.url) {
    const { stores, failures } = make(prefix, url);
    await stores.start();
    return { stores, store: stores.open<unknown>('things'), failures };
  }

  storeContract('redis', () => make(newPrefix()).stores);

  durableContract('redis', () => {
    const prefix = newPrefix();
    return { open: async () => (await open(prefix)).stores, words: ['redis', redis.url, prefix] };
  });

  it('of one prefix see what the others change, as soon as that is answered', async () => {
    const prefix = newPrefix();
    const { store: one } = await open(prefix);
    const { store: two } = await open(prefix);
    for (let number = 0; number < 50; number++) {
      await one.put('a', number);
      expect(await two.get('a')).toBe(number);
      await two.put('b', number);
      expect(await one.range('a', 'z', 10)).toEqual([
        ['a', number],
        ['b', number],
      ]);
      expect(await one.remove('b')).toBe(true);
      expect(await two.remove('b')).toBe(false);
    }
  });

  it('of one prefix make each change whole, whoever else changes the same key', async () => {
    const prefix = newPrefix();
    const { store: one } = await open(prefix);
    const { store: two } = await open(prefix);
    for (let round = 0; round < 100; round++) {
      await one.put('a', 'there');
      const removed = await Promise.all([one.remove('a'), two.remove('a')]);
      expect(removed.toSorted()).toEqual([false, true]);
      await Promise.all([one.put('a', 'one'), two.remove('a'), two.put('a', 'two'), one.remove('a')]);
      // What the one side has, the other has: neither a key without a value nor a value without a key.
      const value = await one.get('a');
      expect(await two.range('', 'z', 10)).toEqual(value === undefined ? [] : [['a', value]]);
    }
  });

  it('of other prefixes are apart', async () => {
    const { store: one } = await open(newPrefix());
    const { store: two } = await open(newPrefix());
    await one.put('a', 1);
    expect(await two.get('a')).toBeUndefined();
    expect(await two.remove('a')).toBe(false);
    expect(await one.get('a')).toBe(1);
  });

  it('start as soon as Redis is there', async () => {
    const network = await startProxy();
    const { stores, failures } = make(newPrefix(), `redis://127.0.0.1:${network.port}`);
    let isStarted = false;
    const starting = stores.start().then(() => {
      isStarted = true;
    });
    await until(() => failures.length >= 1);
    expect(isStarted).toBe(false);
    network.to(portOf(redis.url));
    await starting;
    await stores.open('things').put('a', 1);
    expect(await stores.open('things').get('a')).toBe(1);
  });

  it('reject with a sentence where they are to stop while they wait for Redis', async () => {
    const network = await startProxy();
    const stopping = new AbortController();
    const { stores } = make(newPrefix(), `redis://127.0.0.1:${network.port}`, stopping.signal);
    const starting = stores.start();
    stopping.abort();
    await expect(starting).rejects.toThrow(/told to stop while it waited for Redis/);
    await stores.stop();
  });

  it('reject calls while Redis is away, say so, and go on by themselves when it is back', async () => {
    const network = await startProxy();
    network.to(portOf(redis.url));
    const { store, failures } = await open(newPrefix(), `redis://127.0.0.1:${network.port}`);
    await store.put('a', 1);
    expect(failures).toEqual([]);
    network.cut();
    await until(() => failures.length > 0);
    for (const call of [store.put('a', 2), store.remove('a'), store.get('a'), store.range('a', 'z', 1)])
      await expect(call).rejects.toThrow(/\w/);
    network.to(portOf(redis.url));
    const found = () => store.get('a').catch(() => undefined);
    while ((await found()) === undefined) await nextTurn();
    expect(await found()).toBe(1);
    await store.put('a', 3);
    expect(await store.range('a', 'z', 1)).toEqual([['a', 3]]);
  });

  it('do not call it a failure that they are stopped', async () => {
    const { stores, store, failures } = await open(newPrefix());
    await store.put('a', 1);
    await stores.stop();
    for (let turn = 0; turn < 50; turn++) await nextTurn();
    expect(failures).toEqual([]);
  });
});

function portOf(url: string): number {
  return Number(new URL(url).port);
}

/** Waits, a turn at a time, for what another process makes true. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await nextTurn();
}

function nextTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}
