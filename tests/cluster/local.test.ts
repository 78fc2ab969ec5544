import { pino } from 'pino';
import { LocalCluster } from '../../src/cluster/local.js';
import { clusterContract } from './cluster-contract.js';

const log = pino({ level: 'silent' });

clusterContract('local', (_cluster, node, report) => new LocalCluster({ node, report, log }), 1);
