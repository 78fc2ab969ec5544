import { StartError } from '../model/start-error.js';
import { Lease as RedisLease } from '../redis/lease.js';
import { openRedis, type RedisClient, untilReady } from '../redis/client.js';
import { GroupCommit } from './group-commit.js';
import { closed, keyBytes, type Lease, type Store, type Stores, valueJson } from './store.js';

const COMMAND_TIMEOUT_MS = 2000;
const MAX_GROUP = 256;
const MAX_GROUP_BYTES = 512 * 1024;

/**
 * Makes changes of one store in one step. KEYS: a sorted set of the keys, all with score 0, so it is ordered by their
 * bytes; a hash of the values. ARGV: for each change a key and a value, with `+` before it; a removal has `-`. Returns
 * for each change whether its key was there.
 */
const CHANGE = `
  local results = {}
  for at = 1, #ARGV, 2 do
    local key, value = ARGV[at], ARGV[at + 1]
    if value == '-' then
      results[#results + 1] = redis.call('HDEL', KEYS[2], key)
      redis.call('ZREM', KEYS[1], key)
    else
      results[#results + 1] = 1 - redis.call('HSET', KEYS[2], key, string.sub(value, 2))
      redis.call('ZADD', KEYS[1], 0, key)
    end
  end
  return results`;

/** A key without a value is removed: Redis has evicted the values. Returns key, value, key, value, … ARGV: the first key, the end key, which is not included, the most entries. */
const RANGE = `
  local keys = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. ARGV[1], '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])
  local results = {}
  for _, key in ipairs(keys) do
    local value = redis.call('HGET', KEYS[2], key)
    if value then
      results[#results + 1] = key
      results[#results + 1] = value
    else
      redis.call('ZREM', KEYS[1], key)
    end
  end
  return results`;

/** Stores in Redis. All nodes with the same prefix share them. As durable as Redis is set to be. */
export class RedisStores implements Stores {
  readonly #redis: RedisClient;
  readonly #prefix: string;
  readonly #stopping: AbortSignal;
  readonly #stores = new Map<string, RedisStore<unknown>>();
  readonly #leases = new Map<string, Lease>();
  readonly #requireOpen = () => {
    if (this.#stopped !== undefined) throw closed();
  };
  #stopped: Promise<void> | undefined;

  /**
   * @param failed told once of a connection that is lost; it comes back by itself, and meanwhile calls reject
   * @param stopping aborted when the server is to stop, also while it still waits for Redis
   */
  constructor(url: string, prefix: string, failed: (error: unknown) => void, stopping: AbortSignal) {
    this.#prefix = prefix;
    this.#stopping = stopping;
    let isLost = false;
    const ready = () => {
      isLost = false;
    };
    const lost = (error: unknown) => {
      if (this.#stopped === undefined && !isLost) failed(error);
      isLost = true;
    };
    const events = { ready, lost };
    this.#redis = openRedis(url, `${prefix}:stores`, events, COMMAND_TIMEOUT_MS);
  }

  /** Waits for Redis, however long that takes. */
  async start(): Promise<void> {
    await untilReady(this.#redis, this.#stopping);
    if (this.#stopping.aborted) throw new StartError('Postroom was told to stop while it waited for Redis.');
  }

  open<V>(name: string): Store<V> {
    this.#requireOpen();
    const base = `{${this.#prefix}}:store:${name}`;
    const keys = [`${base}:keys`, `${base}:values`] as const;
    const store = this.#stores.get(name) ?? new RedisStore(this.#redis, keys, this.#requireOpen);
    this.#stores.set(name, store);
    return store as Store<V>;
  }

  lease(name: string): Lease {
    this.#requireOpen();
    const lease =
      this.#leases.get(name) ?? new RedisLease(this.#redis, `{${this.#prefix}}:store:lease:${name}`);
    this.#leases.set(name, lease);
    return lease;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    await Promise.all([...this.#stores.values()].map(store => store.idle()));
    this.#redis.disconnect();
  }
}

class RedisStore<V> implements Store<V> {
  readonly #redis: RedisClient;
  readonly #keys: readonly [keys: string, values: string];
  readonly #requireOpen: () => void;
  readonly #commits: GroupCommit<readonly [key: string, value: string], boolean>;

  constructor(redis: RedisClient, keys: readonly [keys: string, values: string], requireOpen: () => void) {
    this.#redis = redis;
    this.#keys = keys;
    this.#requireOpen = requireOpen;
    this.#commits = new GroupCommit({
      maxItems: MAX_GROUP,
      maxBytes: MAX_GROUP_BYTES,
      commit: async changes => {
        const reply = await redis.eval(CHANGE, this.#keys.length, ...this.#keys, ...changes.flat());
        return textsOf(reply).map(result => result === '1');
      },
    });
  }

  async put(key: string, value: V): Promise<void> {
    await this.#change(key, `+${valueJson(value)}`);
  }

  async remove(key: string): Promise<boolean> {
    return this.#change(key, '-');
  }

  async get(key: string): Promise<V | undefined> {
    this.#requireOpen();
    keyBytes(key);
    const json = await this.#redis.hget(this.#keys[1], key);
    return json === null ? undefined : JSON.parse(json);
  }

  async range(from: string, to: string, limit: number): Promise<[string, V][]> {
    this.#requireOpen();
    const most = Math.min(limit, Number.MAX_SAFE_INTEGER);
    const reply = await this.#redis.eval(RANGE, this.#keys.length, ...this.#keys, from, to, most);
    const texts = textsOf(reply);
    const entries: [string, V][] = [];
    for (let index = 0; index + 1 < texts.length; index += 2)
      entries.push([texts[index] ?? '', JSON.parse(texts[index + 1] ?? '')]);
    return entries;
  }

  /** Resolves when all changes are answered. */
  idle(): Promise<void> {
    return this.#commits.idle();
  }

  async #change(key: string, value: string): Promise<boolean> {
    this.#requireOpen();
    return this.#commits.add([key, value], keyBytes(key).length + value.length);
  }
}

function textsOf(reply: unknown): string[] {
  if (!Array.isArray(reply)) throw new Error('Redis did not answer with a list');
  return reply.map(String);
}
