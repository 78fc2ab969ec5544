import { pino } from 'pino';
import type { Cluster } from '../../src/cluster/cluster.js';
import { LocalCluster } from '../../src/cluster/local.js';

/** A cluster of one node. */
export function localCluster(): Cluster {
  return new LocalCluster({ node: 'one', report: () => '', log: pino({ level: 'silent' }) });
}
