import { randomUUID } from 'node:crypto';
import type { RedisClient } from './client.js';

const LEASE_MS = 5000;
const RENEW_MS = 1000;

// Takes it where nobody has it, prolongs it where we do. Returns whether it is ours.
const HOLD = `
  local holder = redis.call('GET', KEYS[1])
  if holder and holder ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1`;
const LET_GO = `
  if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
  return 1`;

/**
 * That one process of many does something: the one that holds a key. It is prolonged every second; who dies loses it
 * after five. A process that was paused may believe for a moment that it still holds it, so what is done under it
 * must be safe to do twice.
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

  /** Takes or prolongs it where that is due. Resolves to whether it is ours; rejects where Redis cannot be asked. */
  async hold(): Promise<boolean> {
    const asked = performance.now();
    if (asked < this.#until - LEASE_MS + RENEW_MS) return true;
    const isOurs = await this.#redis.eval(HOLD, 1, this.#key, this.#holder, LEASE_MS);
    this.#until = isOurs === 1 ? asked + LEASE_MS : 0;
    return isOurs === 1;
  }

  /** Lets the next one have it. Rejects where Redis cannot be asked: it then runs out by itself. */
  async release(): Promise<void> {
    if (!this.isHeld) return;
    this.#until = 0;
    await this.#redis.eval(LET_GO, 1, this.#key, this.#holder);
  }
}
