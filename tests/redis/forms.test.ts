import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as passes } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import {
  BROKER_TIMEOUT,
  type Broker,
  type Command,
  freePort,
  newDirectory,
  runToEnd,
  startBroker,
} from '../support/broker.js';
import { connect, type Frame, type TestClient } from '../support/client.js';
import { untilReport } from '../support/health.js';
import { post } from '../support/notify.js';
import { type ServerProcess, startProcess } from '../support/process.js';
import { startProxy } from '../support/proxy.js';
import { describeWith } from '../support/requires.js';
import { InsistentPublisher } from '../support/resuming.js';
import { KEY } from '../support/server.js';

type Settings = Record<string, string>;

interface AdminOptions {
  host?: string;
  username?: string;
  password?: string;
  tls?: { ca: Buffer };
}

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const scaling = fileURLToPath(new URL('../../docs/scaling.md', import.meta.url));
const ROOM = 'public.a';
const STREAM = 'orders';
const CHANNEL = 'news';
const MASTER = 'main';
const BUS_OFFSET = 10_000;
const FIRST_EPHEMERAL_PORT = 32_768;
const SLOTS = 16384;
// Long enough for a slow machine, short enough for a test.
const DOWN_AFTER_MS = '1000';

const admins = new Set<Redis | Cluster>();
afterEach(() => {
  for (const admin of admins) admin.disconnect();
  admins.clear();
});

describeWith(['own-redis'], 'each form of REDIS_URL', () => {
  describe.each([
    ['one server', 'redis', {}],
    ['a cluster', 'redis+cluster', { 'cluster-enabled': 'yes', 'cluster-announce-ip': '127.0.0.1' }],
  ])('%s, for a user', (_, scheme, settings) => {
    it(
      'with the rules of docs/scaling.md',
      async () => {
        const [, rules = ''] =
          /### ACL\n[\s\S]*?```\n([\s\S]*?)```/.exec(readFileSync(scaling, 'utf8')) ?? [];
        const words = rules
          .split('\n')
          .filter(line => !line.startsWith('#'))
          .join(' ')
          .trim()
          .split(/ +/);
        const user = ['--user', 'postroom', 'on', '>secret', ...words];
        const { port } = await startRedis(settings, user);
        const root = admin(port);
        if (scheme === 'redis+cluster') {
          await root.call('CLUSTER', 'ADDSLOTSRANGE', 0, SLOTS - 1);
          await clusterIsReady(port);
        }
        const nodes = await startNodes(`${scheme}://postroom:secret@127.0.0.1:${port}`, {
          REDIS_CHANNELS: `${CHANNEL},laravel_*`,
          RETENTION_SECONDS: '1',
        });
        const { client } = await expectAllIsHeard(nodes, root);
        await root.publish('laravel_a', JSON.stringify({ room: ROOM, event: 'e', data: 'broadcast' }));
        expect(await client.next()).toMatchObject({ data: 'broadcast' });
        await root.xadd(STREAM, '*', 'json', 'no JSON');
        await until(async () => (await root.xlen(`${STREAM}.dead`)) === 1);
        await until(async () => (await root.xlen('{postroom}:journal:entries')) === 0);
        await nodes[0].stop();
        await expectBridgesAreHeard([nodes[1]], client, root);
        expect(await root.call('ACL', 'LOG')).toEqual([]);
      },
      BROKER_TIMEOUT,
    );
  });

  describe('one server', () => {
    it(
      'with a user and a password',
      async () => {
        const { port } = await startRedis(
          {
            user: 'default off',
          },
          ['--user', 'post:room', 'on', '>p@ss/word', '~*', '&*', '+@all'],
        );
        const [username, password] = ['post:room', 'p@ss/word'];
        const userInfo = [username, password].map(encodeURIComponent).join(':');
        const nodes = await startNodes(`redis://${userInfo}@127.0.0.1:${port}`);
        await expectAllIsHeard(nodes, admin(port, { username, password }));
        for (const node of nodes) expect(node.output()).not.toMatch(/p@ss|p%40ss/);
      },
      BROKER_TIMEOUT,
    );

    it(
      'with TLS; without the authority that signed its certificate it is refused, and the log says why',
      async () => {
        const certificates = await makeCertificates('IP:127.0.0.1');
        const { port } = await startRedis(certificates.settings);
        const url = `rediss://127.0.0.1:${port}`;
        const nodes = await startNodes(url, certificates.trusted);
        await expectAllIsHeard(nodes, admin(port, certificates.options));
        await expectRefused(url, /unable to verify|self-signed/);
        await expectRefused(url.replace('rediss', 'redis'), /\S/);
      },
      BROKER_TIMEOUT,
    );
  });

  describe('Sentinel', () => {
    it(
      'finds the new master when the old one is killed; what it had replicated is replayed',
      async () => {
        const secrets = { requirepass: 'of-redis', masterauth: 'of-redis' };
        const master = await startRedis(secrets);
        const replica = await startRedis({ ...secrets, replicaof: `127.0.0.1 ${master.port}` });
        const sentinels: Started[] = [];
        for (let count = 0; count < 3; count++)
          sentinels.push(
            await startSentinel(master.port, 2, [
              'requirepass of-sentinel',
              `sentinel auth-pass ${MASTER} of-redis`,
            ]),
          );
        const hosts = sentinels.map(({ port }) => `127.0.0.1:${port}`).join();
        const nodes = await startNodes(
          `redis+sentinel://:of-redis@${hosts}/${MASTER}?sentinelPassword=of-sentinel`,
        );
        const { first, client } = await expectAllIsHeard(nodes, admin(master.port, { password: 'of-redis' }));
        await replicated(admin(master.port, { password: 'of-redis' }));
        await knowEachOther(sentinels, 'of-sentinel');

        // A sentinel that no longer answers must not hold up clients that ask it first.
        sentinels[0]?.broker.pause();
        await master.broker.kill();
        await publish(nodes[0], 'after the failover');

        expect(await client.next()).toMatchObject({ data: 'after the failover' });
        for (const node of nodes) await expectReplayed(node, first);
        await publish(nodes[1], 'from the other node');
        expect(await client.next()).toMatchObject({ data: 'from the other node' });
        const promoted = admin(replica.port, { password: 'of-redis' });
        expect((await promoted.role())[0]).toBe('master');
        await expectBridgesAreHeard(nodes, client, promoted);
      },
      BROKER_TIMEOUT,
    );

    it(
      'with TLS, to the sentinels as to the master',
      async () => {
        const certificates = await makeCertificates('IP:127.0.0.1');
        const master = await startRedis(certificates.settings);
        const sentinel = await startSentinel(master.port, 1, certificates.lines);
        const url = `rediss+sentinel://127.0.0.1:${sentinel.port}/${MASTER}`;
        const nodes = await startNodes(url, certificates.trusted);
        await expectAllIsHeard(nodes, admin(master.port, certificates.options));
        await expectRefused(url, /failed to connect to sentinel 127\.0\.0\.1:\d+/);
      },
      BROKER_TIMEOUT,
    );

    it(
      'that is not there, or knows no such master, is told in the log',
      async () => {
        const nobody = await freePort();
        await expectRefused(
          `redis+sentinel://127.0.0.1:${nobody}/${MASTER}`,
          /failed to connect to sentinel 127\.0\.0\.1:\d+/,
        );
        const sentinel = await startSentinel(nobody, 1);
        await expectRefused(
          `redis+sentinel://127.0.0.1:${sentinel.port}/other`,
          /No such master with that name/,
        );
      },
      BROKER_TIMEOUT,
    );
  });

  describe('Cluster', () => {
    it(
      'finds what is on each of its nodes, and goes on when that of the journal is killed and its replica takes over',
      async () => {
        const masters = [await startClusterNode(), await startClusterNode(), await startClusterNode()];
        const [one] = masters;
        if (one === undefined) throw new Error('three were started');
        const share = Math.ceil(SLOTS / masters.length);
        for (const [index, { port }] of masters.entries()) {
          const last = Math.min(SLOTS, (index + 1) * share) - 1;
          await admin(port).call('CLUSTER', 'ADDSLOTSRANGE', index * share, last);
        }
        const slot = Number(await admin(one.port).call('CLUSTER', 'KEYSLOT', '{postroom}:journal:entries'));
        const journal = masters[Math.floor(slot / share)];
        if (journal === undefined) throw new Error('each slot has a master');
        const replica = await startClusterNode();
        for (const { port } of [...masters.slice(1), replica])
          await admin(one.port).call('CLUSTER', 'MEET', '127.0.0.1', port);
        const id = await admin(journal.port).call('CLUSTER', 'MYID');
        await until(
          async () => (await admin(replica.port).call('CLUSTER', 'REPLICATE', String(id))) === 'OK',
        );
        for (const { port } of [...masters, replica]) await clusterIsReady(port);
        await until(async () => (await info(replica.port)).includes('master_link_status:up'));

        const hosts = masters.map(({ port }) => `127.0.0.1:${port}`).join();
        const nodes = await startNodes(`redis+cluster://${hosts}`);
        const cluster = clusterAdmin(one.port);
        const { first, client } = await expectAllIsHeard(nodes, cluster);
        await replicated(admin(journal.port));
        await journal.broker.kill();
        await publish(nodes[0], 'after the failover');

        expect(await client.next()).toMatchObject({ data: 'after the failover' });
        for (const node of nodes) await expectReplayed(node, first);
        await expectBridgesAreHeard(nodes, client, clusterAdmin(replica.port));
      },
      BROKER_TIMEOUT,
    );

    it(
      'with TLS, and names in the certificates',
      async () => {
        const certificates = await makeCertificates('DNS:localhost');
        const { port } = await startClusterNode({
          ...certificates.settings,
          'tls-cluster': 'yes',
          'cluster-announce-hostname': 'localhost',
          'cluster-preferred-endpoint-type': 'hostname',
        });
        const options = { ...certificates.options, host: 'localhost' };
        await admin(port, options).call('CLUSTER', 'ADDSLOTSRANGE', 0, SLOTS - 1);
        await clusterIsReady(port, options);
        const nodes = await startNodes(`rediss+cluster://localhost:${port}`, certificates.trusted);
        await expectAllIsHeard(nodes, admin(port, options));
        await expectRefused(`rediss+cluster://localhost:${port}`, /closed/);
      },
      BROKER_TIMEOUT,
    );

    it(
      'is told nothing twice when a connection breaks before the answer',
      async () => {
        const proxy = await startProxy();
        const { port, broker } = await startClusterNode({ 'cluster-announce-port': String(proxy.port) });
        // With a second node the cluster is not lost as a whole.
        const second = await startClusterNode();
        await admin(port).call('CLUSTER', 'ADDSLOTSRANGE', 1, SLOTS - 1);
        await admin(second.port).call('CLUSTER', 'ADDSLOTS', 0);
        await admin(port).call('CLUSTER', 'MEET', '127.0.0.1', second.port);
        for (const one of [port, second.port]) await clusterIsReady(one);
        proxy.to(port);
        const node = await startProcess(environment(`redis+cluster://127.0.0.1:${proxy.port}`));
        await untilReport(node, ({ status }) => status === 'ok');
        const client = await listen(node);

        broker.pause();
        const answer = post(node, { room: ROOM, event: 'e', data: 'once' }).then(({ status }) => status);
        // The command is under way: Redis finds it in its socket when it goes on.
        await passes(300);
        proxy.cut();
        broker.resume();
        proxy.to(port);
        expect(await answer).toBe(503);
        await publish(node, 'after');

        expect(await client.next()).toMatchObject({ data: 'once' });
        expect(await client.next()).toMatchObject({ data: 'after' });
      },
      BROKER_TIMEOUT,
    );
  });
});

// ---- Postroom

function environment(url: string, settings: Settings = {}): Settings {
  return {
    JOURNAL: 'redis',
    REDIS_URL: url,
    REDIS_STREAM: STREAM,
    REDIS_CHANNELS: CHANNEL,
    NOTIFY_KEYS: KEY,
    JWT_SECRET: KEY,
    DRAIN_SECONDS: '0',
    ...settings,
  };
}

/** Two nodes. All their connections to Redis are ready when this resolves. */
async function startNodes(url: string, settings: Settings = {}): Promise<[ServerProcess, ServerProcess]> {
  const nodes = [
    await startProcess(environment(url, settings)),
    await startProcess(environment(url, settings)),
  ] as const;
  for (const node of nodes)
    await untilReport(node, ({ status, journal }) => status === 'ok' && journal.nodes?.length === 2);
  return [...nodes];
}

async function listen(node: ServerProcess, query = ''): Promise<TestClient> {
  const client = await connect(`${node.url.replace('http', 'ws')}/ws?room=${ROOM}${query}`);
  await client.nextOf('subscribed');
  return client;
}

/** Checks that a client of one node hears what comes through the other, by the stream and by the channel. */
async function expectAllIsHeard(
  nodes: readonly [ServerProcess, ServerProcess],
  redis: Redis | Cluster,
): Promise<{ first: string; client: TestClient }> {
  const client = await listen(nodes[1]);
  const answer = await post(nodes[0], { room: ROOM, event: 'e', data: 'posted' });
  expect(answer.body).toMatchObject({ connections: 1, duplicate: false });
  expect(await client.next()).toMatchObject({ data: 'posted', id: answer.body.id });
  await expectBridgesAreHeard(nodes, client, redis);
  return { first: answer.body.id, client };
}

async function expectBridgesAreHeard(
  nodes: readonly ServerProcess[],
  client: TestClient,
  redis: Redis | Cluster,
): Promise<void> {
  for (const node of nodes) await untilReport(node, ({ status }) => status === 'ok');
  await redis.xadd(STREAM, '*', 'json', JSON.stringify({ room: ROOM, event: 'e', data: 'added' }));
  expect(await client.next()).toMatchObject({ data: 'added' });
  // Repeats it until it is heard, with a key, so it comes once: while nodes change over, nobody listens.
  const message = { room: ROOM, event: 'e', data: 'published', key: `published-${Math.random()}` };
  let heard: Frame | undefined;
  const hearing = client.next().then(frame => {
    heard = frame;
  });
  while (heard === undefined) {
    await redis.publish(CHANNEL, JSON.stringify(message));
    await Promise.race([hearing, passes(100)]);
  }
  expect(heard).toMatchObject({ data: 'published' });
}

/** Posts it again with the same key until it is accepted. */
async function publish(node: ServerProcess, data: string): Promise<void> {
  await new InsistentPublisher(() => node.url, KEY).publish(ROOM, data);
}

/** Checks that the past after an id is there: from the bridges' messages to the one after the failover. */
async function expectReplayed(node: ServerProcess, since: string): Promise<void> {
  const client = await connect(`${node.url.replace('http', 'ws')}/ws?room=${ROOM}&since=${since}`);
  expect(await client.nextOf('welcome')).toMatchObject({ recovered: true });
  for (const data of ['added', 'published', 'after the failover'])
    expect(await client.nextOf('notification')).toMatchObject({ data });
  client.socket.close();
}

/** Checks that Postroom waits: it listens, is not ready, and logs the reason. */
async function expectRefused(url: string, reason: RegExp): Promise<void> {
  const port = await freePort();
  const postroom = await startBroker(port, [
    {
      program: process.execPath,
      args: [main],
      directory: newDirectory('refused'),
      env: { ...environment(url), PORT: String(port) },
      ready: /the journal cannot use Redis/,
    },
  ]);
  const said = postroom
    .output()
    .split('\n')
    .find(line => line.includes('the journal cannot use Redis'));
  expect(JSON.parse(said ?? '').reason).toMatch(reason);
  expect((await fetch(`http://127.0.0.1:${port}/health/ready`)).status).toBe(503);
  await postroom.stop();
}

// ---- Redis

interface Started {
  readonly port: number;
  readonly broker: Broker;
}

/** A port whose bus, 10,000 above it, is not one that the system gives to outgoing connections. */
async function clusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (port + BUS_OFFSET < FIRST_EPHEMERAL_PORT) return port;
  }
}

async function startRedis(settings: Settings = {}, args: readonly string[] = []): Promise<Started> {
  const port = await (settings['cluster-enabled'] === 'yes' ? clusterPort() : freePort());
  const directory = newDirectory('redis');
  const all: Settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: directory,
    save: '',
    appendonly: 'yes',
    'repl-diskless-sync-delay': '0',
    ...settings,
  };
  if (all['tls-cert-file'] !== undefined) Object.assign(all, { port: '0', 'tls-port': String(port) });
  const broker = await startBroker(port, [
    {
      program: 'redis-server',
      args: [...Object.entries(all).flatMap(([name, value]) => [`--${name}`, ...value.split(' ')]), ...args],
      directory,
      ready: /Ready to accept connections/,
    },
  ]);
  return { port, broker };
}

function startClusterNode(settings: Settings = {}): Promise<Started> {
  return startRedis({
    'cluster-enabled': 'yes',
    'cluster-node-timeout': DOWN_AFTER_MS,
    'cluster-announce-ip': '127.0.0.1',
    ...settings,
  });
}

async function startSentinel(
  master: number,
  quorum: number,
  lines: readonly string[] = [],
): Promise<Started> {
  const port = await freePort();
  const directory = newDirectory('sentinel');
  const hasTls = lines.some(line => line.startsWith('tls-'));
  // It writes what it learns into its file.
  writeFileSync(
    join(directory, 'sentinel.conf'),
    [
      hasTls ? `port 0\ntls-port ${port}` : `port ${port}`,
      'bind 127.0.0.1',
      `dir ${directory}`,
      `sentinel monitor ${MASTER} 127.0.0.1 ${master} ${quorum}`,
      `sentinel down-after-milliseconds ${MASTER} ${DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${MASTER} 10000`,
      ...lines,
      '',
    ].join('\n'),
  );
  const command: Command = {
    program: 'redis-server',
    args: ['sentinel.conf', '--sentinel'],
    directory,
    ready: /\+monitor master/,
  };
  return { port, broker: await startBroker(port, [command]) };
}

function admin(port: number, options: AdminOptions = {}): Redis {
  const redis = new Redis({ host: '127.0.0.1', ...options, port });
  admins.add(redis);
  return redis;
}

function clusterAdmin(port: number): Cluster {
  const cluster = new Cluster([{ host: '127.0.0.1', port }]);
  admins.add(cluster);
  return cluster;
}

/** Resolves when a replica has everything that was written so far. */
async function replicated(master: Redis): Promise<void> {
  // For a connection that wrote nothing, Redis would answer at once.
  await master.eval("redis.call('INCR', KEYS[1])", 1, '{postroom}:test');
  expect(await master.wait(1, 0)).toBeGreaterThan(0);
}

/** Only sentinels that are known to another sentinel may vote. */
async function knowEachOther(sentinels: readonly Started[], password: string): Promise<void> {
  for (const { port } of sentinels) {
    const sentinel = admin(port, { password });
    await until(async () => {
      const others = (await sentinel.call('SENTINEL', 'SENTINELS', MASTER)) as unknown[];
      const replicas = (await sentinel.call('SENTINEL', 'REPLICAS', MASTER)) as unknown[];
      return others.length === sentinels.length - 1 && replicas.length === 1;
    });
  }
}

async function clusterIsReady(port: number, options: AdminOptions = {}): Promise<void> {
  const redis = admin(port, options);
  await until(async () => {
    const report = String(await redis.call('CLUSTER', 'INFO'));
    return report.includes('cluster_state:ok') && report.includes(`cluster_slots_ok:${SLOTS}`);
  });
}

function info(port: number): Promise<string> {
  return admin(port).info('replication');
}

/** Asks again and again, for things that no frame or event reports. An error means no. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds().catch(() => false))) await passes(50);
}

// ---- Certificates

/** An authority, and a certificate that it signed, for 127.0.0.1 or for a name. */
async function makeCertificates(subject: string) {
  const directory = newDirectory('certificates');
  const path = (name: string) => join(directory, name);
  const openssl = (...args: string[]) => runToEnd({ program: 'openssl', args, directory });
  const key = (name: string) => [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    name,
  ];
  await openssl(
    'req',
    '-x509',
    ...key('ca.key'),
    '-subj',
    '/CN=test authority',
    '-days',
    '2',
    '-out',
    'ca.crt',
  );
  await openssl('req', ...key('redis.key'), '-subj', '/CN=redis', '-out', 'redis.csr');
  writeFileSync(path('extensions'), `subjectAltName=${subject}\n`);
  const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
  await openssl(
    'x509',
    '-req',
    '-in',
    'redis.csr',
    ...signing,
    '-extfile',
    'extensions',
    '-out',
    'redis.crt',
  );
  const settings = {
    'tls-cert-file': path('redis.crt'),
    'tls-key-file': path('redis.key'),
    'tls-ca-cert-file': path('ca.crt'),
    'tls-auth-clients': 'no',
    'tls-replication': 'yes',
  };
  return {
    settings,
    /** The same for a file. */
    lines: Object.entries(settings).map(([name, value]) => `${name} ${value}`),
    trusted: { NODE_EXTRA_CA_CERTS: path('ca.crt') },
    options: { tls: { ca: readFileSync(path('ca.crt')) } },
  };
}
