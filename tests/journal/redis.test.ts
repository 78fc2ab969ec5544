import { beforeAll } from '@jest/globals';
import { pino } from 'pino';
import { RedisJournal } from '../../src/journal/redis.js';
import type { Retention } from '../../src/model/retention.js';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { journalContract } from './journal-contract.js';

const AMPLE: Retention = { seconds: 600, bytes: 64 * 1024 * 1024 };
const stopping = new AbortController();
const log = pino({ level: process.env.DEBUG_LOG ?? 'silent' });

describeWith(['redis'], 'JOURNAL=redis', () => {
  let redis: RedisServer;
  let prefixes = 0;
  beforeAll(async () => {
    redis = await startRedis();
  }, BROKER_TIMEOUT);

  function make(prefix = `test-${Math.random()}-${prefixes++}`, retention = AMPLE, connections = () => 0) {
    return new RedisJournal({
      url: redis.url,
      prefix,
      retention,
      connections,
      stopping: stopping.signal,
      log,
    });
  }

  journalContract('redis', ({ retention }) => make(undefined, retention));
});
