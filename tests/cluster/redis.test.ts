import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { RedisCluster } from '../../src/cluster/redis.js';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { startProxy } from '../support/proxy.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { clusterContract, until } from './cluster-contract.js';

const log = pino({ level: 'silent' });

describeWith(['redis'], 'nodes on one Redis', () => {
  const stopping = new AbortController();
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  }, BROKER_TIMEOUT);
  afterAll(() => stopping.abort());

  function join(prefix: string, node: string, report = () => '', url = redis.url) {
    return new RedisCluster({ url, prefix, node, report, stopping: stopping.signal, log });
  }

  clusterContract('Redis', join, 3);

  it('know of a new node when it has started', async () => {
    const prefix = `test-${Math.random()}`;
    const one = join(prefix, 'one');
    await one.start();
    const two = join(prefix, 'two');
    await two.start();
    for (const cluster of [one, two]) expect(cluster.nodes()).toHaveLength(2);
    await Promise.all([one.stop(), two.stop()]);
  });

  it('forget a node that is cut off, and know it again when it comes back', async () => {
    const prefix = `test-${Math.random()}`;
    const network = await startProxy();
    network.to(Number(new URL(redis.url).port));
    const one = join(prefix, 'one');
    const two = join(prefix, 'two', () => '', `redis://127.0.0.1:${network.port}`);
    await Promise.all([one.start(), two.start()]);
    await until(() => one.nodes().length === 2);
    network.cut();
    await until(() => one.nodes().length === 1);
    network.to(Number(new URL(redis.url).port));
    await until(() => one.nodes().length === 2);
    two.handle('news', () => 'heard');
    expect(await one.ask('news', '', 5000)).toMatchObject({ answers: ['heard'] });
    await Promise.all([one.stop(), two.stop()]);
  });

  it('are unmoved by the words of others, and by a clock that is set back', async () => {
    const prefix = `test-${Math.random()}`;
    const one = join(prefix, 'one');
    await one.start();
    const client = new Redis(redis.url);
    await client.publish(`{${prefix}}:cluster`, 'no JSON');
    await client.publish(`{${prefix}}:cluster`, '{"kind":"question"}');
    // As a node wrote it before the clock of Redis was set back by an hour.
    await client.hset(`{${prefix}}:cluster:nodes`, 'dead', `${Date.now() + 3_600_000} `, 'odd', 'nonsense');
    while ((await client.hlen(`{${prefix}}:cluster:nodes`)) > 1);
    expect(one.nodes().map(({ node }) => node)).toEqual(['one']);
    client.disconnect();
    await one.stop();
  });
});
