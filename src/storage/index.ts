import type { DataDirectory } from './directory.js';
import { DiskStores } from './disk.js';
import { MemoryStores } from './memory.js';
import type { Stores } from './store.js';

export { DataDirectory } from './directory.js';
export type { Lease, Stores } from './store.js';

interface StoreSettings {
  /** The directory of `disk`. */
  readonly directory: DataDirectory;
  /** The address of `redis`, and the beginning of its keys. */
  readonly redisUrl: string | undefined;
  readonly redisPrefix: string;
  /** Told of a connection to Redis that is lost. */
  readonly failed: (error: unknown) => void;
  /** Aborted when the server stops. */
  readonly stopping: AbortSignal;
}

/** The stores for each kind of journal. A driver is loaded only if the setting asks for it. */
export const storesOf = {
  disk: async ({ directory, stopping }: StoreSettings): Promise<Stores> =>
    new DiskStores(directory, stopping),
  memory: async (_settings: StoreSettings): Promise<Stores> => new MemoryStores(),
  async redis({ redisUrl, redisPrefix, failed, stopping }: StoreSettings): Promise<Stores> {
    if (redisUrl === undefined) throw new Error('JOURNAL=redis needs REDIS_URL');
    const { RedisStores } = await import('./redis.js');
    return new RedisStores(redisUrl, redisPrefix, failed, stopping);
  },
};
