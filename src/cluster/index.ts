import type { Logger } from 'pino';
import type { Cluster } from './cluster.js';
import { LocalCluster } from './local.js';

export type { Cluster } from './cluster.js';

interface ClusterSettings {
  readonly redisUrl: string | undefined;
  readonly redisPrefix: string;
  /** This node's name. */
  readonly node: string;
  /** This node's report about itself. */
  readonly report: () => string;
  /** Aborted when the server stops. */
  readonly stopping: AbortSignal;
  readonly log: Logger;
}

/** The cluster for each kind of journal. A driver is loaded only if the setting asks for it. */
export const clusters = {
  disk: async (settings: ClusterSettings): Promise<Cluster> => new LocalCluster(settings),
  memory: async (settings: ClusterSettings): Promise<Cluster> => new LocalCluster(settings),
  async redis({ redisUrl, redisPrefix, ...others }: ClusterSettings): Promise<Cluster> {
    if (redisUrl === undefined) throw new Error('JOURNAL=redis needs REDIS_URL');
    const { RedisCluster } = await import('./redis.js');
    return new RedisCluster({ url: redisUrl, prefix: redisPrefix, ...others });
  },
};
