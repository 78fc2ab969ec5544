import { randomUUID } from 'node:crypto';
import type { RedisClient } from './client.js';

const LEASE_MS = 5000;
const RENEW_MS = 1000;

// Takes the lease if nobody holds it; prolongs it if we hold it. Returns 1 if it is ours, else 0.
const HOLD = `
  local holder = redis.call('GET', KEYS[1])
  if holder and holder ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1`;
const LET_GO = `
  if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
  return 1`;

/**
 * Lets one process of many do something: the holder of a key. It prolongs the key every second. If it dies, it loses
 * the key after five seconds. A process that was paused may believe for a moment that it still holds the key. So work
 * under a lease must be safe to do twice.
 */
export class Lease {
  readonly #redis: RedisClient;
  readonly #key: string;
  readonly #holder = randomUUID();
  #until = 0;

  constructor(redis: RedisClient, key: string) {
    this.#redis = redis;
    this.#key = key;
  }

  get isHeld(): boolean {
    return performance.now() < this.#until;
  }

  /** Takes the lease, or prolongs it if due. Resolves to whether it is ours. Rejects if Redis does not answer. */
  async hold(): Promise<boolean> {
    const asked = performance.now();
    if (asked < this.#until - LEASE_MS + RENEW_MS) return true;
    const isOurs = await this.#redis.eval(HOLD, 1, this.#key, this.#holder, LEASE_MS);
    this.#until = isOurs === 1 ? asked + LEASE_MS : 0;
    return isOurs === 1;
  }

  /** Gives the lease up. Rejects if Redis cannot be asked; then the lease runs out by itself. */
  async release(): Promise<void> {
    if (!this.isHeld) return;
    this.#until = 0;
    await this.#redis.eval(LET_GO, 1, this.#key, this.#holder);
  }
}
