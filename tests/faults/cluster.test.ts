import { setTimeout as passes } from 'node:timers/promises';
import { expect, it } from '@jest/globals';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { reportOf, untilReport } from '../support/health.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { areInOrder, InsistentPublisher, ResumingListener } from '../support/resuming.js';
import { KEY } from '../support/server.js';

const NODES = 3;
const LISTENERS = 6;
const PUBLISHERS = 4;
const ROOM = 'public.cluster';
const REDIS_AWAY_MS = 30_000;
const NODE_PAUSED_MS = 20_000;

/** Nodes under load. Listeners come back to any node that runs; publishers try again. */
class Cluster {
  readonly redis: RedisServer;
  readonly nodes: ServerProcess[] = [];
  readonly listeners: ResumingListener[] = [];
  readonly publishers: InsistentPublisher[] = [];
  published = 0;
  #stopping = false;
  #publishing: Promise<unknown> = Promise.resolve();
  #notice = () => {};
  #turn = 0;

  constructor(redis: RedisServer) {
    this.redis = redis;
  }

  /** Every listener must have heard these in the end. */
  get accepted(): Map<string, string> {
    return new Map(this.publishers.flatMap(publisher => [...publisher.accepted]));
  }

  async start(settings: Record<string, string> = {}): Promise<void> {
    for (let node = 0; node < NODES; node++) this.nodes.push(await this.startNode(settings));
    for (let index = 0; index < LISTENERS; index++)
      this.listeners.push(
        new ResumingListener(() => `${this.#nextUrl().replace('http', 'ws')}/ws?room=${ROOM}`),
      );
    for (const listener of this.listeners) await listener.until(({ connections }) => connections > 0);
    for (let index = 0; index < PUBLISHERS; index++)
      this.publishers.push(new InsistentPublisher(() => this.#nextUrl(), KEY));
    this.#publishing = Promise.all(
      this.publishers.map(async (publisher, index) => {
        for (let number = 0; !this.#stopping; number++) {
          await publisher.publish(ROOM, `${index}:${number}`);
          this.published++;
          this.#notice();
        }
      }),
    );
  }

  startNode(settings: Record<string, string> = {}, port = 0): Promise<ServerProcess> {
    return startProcess({
      JOURNAL: 'redis',
      REDIS_URL: this.redis.url,
      NOTIFY_KEYS: KEY,
      JWT_SECRET: KEY,
      DRAIN_SECONDS: '0',
      PORT: String(port),
      ...settings,
    });
  }

  /** Resolves when so many more were accepted. */
  async publishes(count: number): Promise<void> {
    const enough = this.published + count;
    while (this.published < enough)
      await new Promise<void>(resolve => {
        this.#notice = resolve;
      });
  }

  node(index: number): ServerProcess {
    const node = this.nodes[index];
    if (node === undefined) throw new Error(`there is no node ${index}`);
    return node;
  }

  /** Checks that every listener heard everything that was accepted, once, and all in the same order. */
  async end(): Promise<void> {
    this.#stopping = true;
    await this.#publishing;
    const { accepted } = this;
    const orders = [];
    for (const listener of this.listeners) {
      await listener.until(({ heard }) => heard.length >= accepted.size);
      expect(listener.lost).toBe(0);
      expect(new Map(listener.heard.map(({ id, data }) => [data, id]))).toEqual(accepted);
      expect(listener.heard).toHaveLength(accepted.size);
      expect(areInOrder(listener.heard)).toBe(true);
      orders.push(listener.heard.map(({ id }) => id).join());
    }
    expect(new Set(orders).size).toBe(1);
  }

  #nextUrl(): string {
    return this.node(this.#turn++ % this.nodes.length).url;
  }
}

describeWith(
  ['own-redis'],
  'everything that was answered with 200 is heard once, in one order, by all clients of three nodes,',
  () => {
    async function startCluster(settings: Record<string, string> = {}): Promise<Cluster> {
      // A write is on the disk before it is answered: so a killed Redis loses no message.
      const cluster = new Cluster(await startRedis({ args: ['--appendfsync', 'always'] }));
      await cluster.start(settings);
      return cluster;
    }

    it(
      'when nodes are killed, one after the other',
      async () => {
        const cluster = await startCluster();
        for (let kill = 0; kill < NODES; kill++) {
          await cluster.publishes(100);
          const { port } = cluster.node(kill);
          await cluster.node(kill).stop('SIGKILL');
          await cluster.publishes(100);
          cluster.nodes[kill] = await cluster.startNode({}, port);
        }
        await cluster.publishes(100);
        await cluster.end();
      },
      BROKER_TIMEOUT,
    );

    it(
      'when Redis is restarted, in order and by force',
      async () => {
        const cluster = await startCluster();
        for (const stop of ['restart', 'kill', 'restart', 'kill'] as const) {
          await cluster.publishes(200);
          if (stop === 'kill') await cluster.redis.kill();
          await cluster.redis.restart();
        }
        await cluster.publishes(200);
        await cluster.end();
        expect(cluster.listeners.map(({ connections }) => connections)).toEqual(Array(LISTENERS).fill(1));
      },
      BROKER_TIMEOUT,
    );

    it(
      `when Redis does not answer for ${REDIS_AWAY_MS / 1000} s, in which connections stay and publishes are refused`,
      async () => {
        const cluster = await startCluster();
        await cluster.publishes(200);
        cluster.redis.pause();
        const { url } = cluster.node(0);
        await untilReport(cluster.node(0), ({ journal }) => !journal.available);
        const post = () =>
          fetch(`${url}/notify`, {
            method: 'POST',
            headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
            body: '{"room":"public.other","event":"e"}',
          });
        const refused = await post();
        expect(refused.status).toBe(503);
        expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
        expect((await fetch(`${url}/health/ready`)).status).toBe(503);
        expect((await fetch(`${url}/health/live`)).status).toBe(200);
        await passes(REDIS_AWAY_MS);
        expect((await post()).status).toBe(503);
        cluster.redis.resume();
        await cluster.publishes(200);
        await cluster.end();
        expect(cluster.listeners.map(({ connections }) => connections)).toEqual(Array(LISTENERS).fill(1));
      },
      BROKER_TIMEOUT,
    );

    it(
      `when a node stands still for ${NODE_PAUSED_MS / 1000} s; the others wait for it no longer than until it is known to be gone`,
      async () => {
        const cluster = await startCluster();
        await cluster.publishes(200);
        const paused = cluster.node(1);
        process.kill(paused.pid, 'SIGSTOP');
        cluster.nodes.splice(1, 1);
        await untilReport(cluster.node(0), ({ journal }) => journal.nodes?.length === NODES - 1);
        const answer = await fetch(`${cluster.node(0).url}/notify`, {
          method: 'POST',
          headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
          body: '{"room":"public.other","event":"e"}',
        });
        expect(await answer.json()).not.toHaveProperty('partial');
        await passes(NODE_PAUSED_MS);
        process.kill(paused.pid, 'SIGCONT');
        cluster.nodes.push(paused);
        await untilReport(cluster.node(0), ({ journal }) => journal.nodes?.length === NODES);
        await cluster.publishes(200);
        await cluster.end();
      },
      BROKER_TIMEOUT,
    );

    it(
      'when all nodes are restarted one after the other; clients come back with what they saw last',
      async () => {
        const cluster = await startCluster({ DRAIN_SECONDS: '1' });
        for (let restart = 0; restart < NODES; restart++) {
          await cluster.publishes(100);
          const { port } = cluster.node(restart);
          expect(await cluster.node(restart).stop('SIGTERM')).toBe(0);
          cluster.nodes[restart] = await cluster.startNode({ DRAIN_SECONDS: '1' }, port);
        }
        await cluster.publishes(100);
        await cluster.end();
        expect(
          cluster.listeners.flatMap(({ closeCodes }) => closeCodes).filter(code => code === 4400).length,
        ).toBeGreaterThan(0);
        expect((await reportOf(cluster.node(0))).journal.nodes).toHaveLength(NODES);
      },
      BROKER_TIMEOUT,
    );
  },
);

describeWith(['own-redis'], 'a node that hangs', () => {
  it(
    'slows publishers at another node by its first silence, and no more',
    async () => {
      const redis = await startRedis();
      try {
        const cluster = new Cluster(redis);
        const [one, two] = [await cluster.startNode(), await cluster.startNode()];
        await untilReport(one, ({ journal }) => journal.nodes?.length === 2);
        const publish = async () => {
          const began = performance.now();
          const response = await fetch(`${one.url}/notify`, {
            method: 'POST',
            headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
            body: JSON.stringify({ room: ROOM, event: 'e' }),
          });
          return { ...((await response.json()) as { partial?: true }), took: performance.now() - began };
        };
        for (let count = 0; count < 5; count++) expect(await publish()).not.toHaveProperty('partial');
        process.kill(two.pid, 'SIGSTOP');
        expect(await publish()).toMatchObject({ partial: true });
        const later = [];
        for (let count = 0; count < 20; count++) later.push(await publish());
        expect(later.every(({ partial }) => partial === true)).toBe(true);
        // A silence costs 250 ms.
        const slow = later.filter(({ took }) => took > 200);
        console.log(`a node hangs: ${slow.length} of 20 publishes after the first were slow`);
        expect(slow.length).toBeLessThanOrEqual(1);
        process.kill(two.pid, 'SIGCONT');
        while ((await publish()).partial);
      } finally {
        await redis.stop();
      }
    },
    BROKER_TIMEOUT,
  );
});
