import type { Logger } from 'pino';
import type { Clock } from '../model/clock.js';
import type { Retention } from '../model/retention.js';
import type { DataDirectory } from '../storage/directory.js';
import { DiskJournal } from './disk.js';
import type { Journal } from './journal.js';
import { MemoryJournal } from './memory.js';

export type { Journal } from './journal.js';

/** The settings of all journals; each takes its part. */
interface JournalSettings {
  readonly retention: Retention;
  /** The directory of `disk`. */
  readonly directory: DataDirectory;
  readonly clock: Clock;
  readonly log: Logger;
  /** The address of `redis`, and the beginning of its keys. */
  readonly redisUrl: string | undefined;
  readonly redisPrefix: string;
  /** This node's name among the nodes that share a journal. */
  readonly node: string;
  /** Aborted when the server stops. */
  readonly stopping: AbortSignal;
}

/** Every kind of journal by its name in `JOURNAL`. A driver is loaded only if the setting asks for it. */
export const journals = {
  disk: async (settings: JournalSettings): Promise<Journal> => new DiskJournal(settings),
  memory: async ({ retention, clock }: JournalSettings): Promise<Journal> =>
    new MemoryJournal(retention, clock),
  async redis({ redisUrl, redisPrefix, ...others }: JournalSettings): Promise<Journal> {
    if (redisUrl === undefined) throw new Error('JOURNAL=redis needs REDIS_URL');
    const { RedisJournal } = await import('./redis.js');
    return new RedisJournal({ url: redisUrl, prefix: redisPrefix, ...others });
  },
};
