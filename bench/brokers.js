/** Starts a broker, or another program behind the server, for one measurement, on 127.0.0.1 and in a directory that is removed afterwards. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lacksPhp, openPhp } from './php-fpm.js';
import { childrenOf } from './proc.js';
import { freePort, start } from './processes.js';
import { lacksPrograms } from './programs.js';

const START_SECONDS = 60;
/** tests/support/fetch-kafka.sh puts them here. */
const KAFKA_JARS = fileURLToPath(new URL('../.cache/kafka', import.meta.url));
/** Debian's program in the PATH first becomes another user, who may not write into our directory. */
const RABBITMQ = 'rabbitmq-server';
const RABBITMQ_UNWRAPPED = '/usr/lib/rabbitmq/bin/rabbitmq-server';

const BROKERS = {
  redis: { open: openRedis, lacks: () => lacksPrograms('redis-server') },
  rabbitmq: { open: openRabbitmq, lacks: () => lacksPrograms(RABBITMQ, 'epmd') },
  kafka: {
    open: openKafka,
    lacks: () =>
      lacksPrograms('java') ?? (existsSync(KAFKA_JARS) ? undefined : 'tests/support/fetch-kafka.sh'),
  },
  receiver: { open: openReceiver, lacks: () => undefined },
  php: { open: openPhp, lacks: lacksPhp },
};

/** Why there is no such broker here; undefined if there is one. */
export function whyNo(broker) {
  const lacks = BROKERS[broker].lacks();
  return lacks && `${broker} needs ${lacks}`;
}

/** @param core undefined: any core. Resolves to `{ address, pids, stop }` when it takes connections */
export async function startBroker(broker, core) {
  const directory = mkdtempSync(join(tmpdir(), `postroom-bench-${broker}-`));
  const children = [];
  const run = (program, args, ready, env = {}) => {
    const child = start(core, program, args, {
      cwd: directory,
      env: { PATH: process.env.PATH, HOME: directory, LANG: 'C.UTF-8', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    return printed(child, program, ready);
  };
  let workers = [];
  // They would outlive their parent, which is killed.
  const killWorkers = () => {
    for (const pid of workers) killIfThere(pid);
  };
  process.once('exit', killWorkers);
  const stop = async () => {
    process.off('exit', killWorkers);
    killWorkers();
    const alive = children.filter(child => child.exitCode === null && child.signalCode === null);
    const gone = alive.map(child => once(child, 'exit'));
    for (const child of alive) child.kill('SIGKILL');
    await Promise.all(gone);
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const address = await BROKERS[broker].open(directory, run);
    workers = children.flatMap(({ pid }) => childrenOf(pid));
    return { address, pids: [...children.map(({ pid }) => pid), ...workers], stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function killIfThere(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

async function openRedis(directory, run) {
  const port = await freePort();
  const settings = {
    port: `${port}`,
    bind: '127.0.0.1',
    dir: directory,
    save: '',
    appendonly: 'yes',
    appendfsync: 'everysec',
    // A process of its own rewrites the file. It would count as other programs' CPU.
    'auto-aof-rewrite-percentage': '0',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  await run('redis-server', args, /Ready to accept connections/);
  return `redis://127.0.0.1:${port}`;
}

async function openRabbitmq(directory, run) {
  const [port, distribution, epmd] = [await freePort(), await freePort(), await freePort()];
  const path = name => join(directory, name);
  writeFileSync(path('enabled_plugins'), '[].\n');
  for (const name of ['rabbitmq.conf', 'rabbitmq-env.conf']) writeFileSync(path(name), '');
  // Starts Erlang's registry of nodes first. Otherwise RabbitMQ starts one that outlives it.
  const names = { ERL_EPMD_PORT: `${epmd}`, ERL_EPMD_ADDRESS: '127.0.0.1' };
  await run('epmd', ['-d', '-d'], /entering the main select\(\) loop/, names);
  await run(existsSync(RABBITMQ_UNWRAPPED) ? RABBITMQ_UNWRAPPED : RABBITMQ, [], /Server startup complete/, {
    ...names,
    RABBITMQ_NODENAME: `bench-${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: `${port}`,
    RABBITMQ_DIST_PORT: `${distribution}`,
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    RABBITMQ_MNESIA_BASE: path('mnesia'),
    RABBITMQ_LOG_BASE: path('log'),
    RABBITMQ_LOGS: '-',
    RABBITMQ_CONFIG_FILE: path('rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: path('rabbitmq-env.conf'),
    RABBITMQ_ENABLED_PLUGINS_FILE: path('enabled_plugins'),
    // Then the start script becomes the server, and does not stay as its parent.
    RUNNING_UNDER_SYSTEMD: 'true',
  });
  return `amqp://guest:guest@127.0.0.1:${port}`;
}

async function openKafka(directory, run) {
  const [port, controller] = [await freePort(), await freePort()];
  const properties = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(directory, 'data'),
    'group.initial.rebalance.delay.ms': 0,
    // One node holds the only copy; one partition of an inner topic is made faster than the usual fifty.
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
  };
  const file = join(directory, 'server.properties');
  const lines = Object.entries(properties).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(file, lines.join(''));
  const java = (main, args, ready) =>
    run(
      'java',
      [
        '-Xmx384m',
        '-XX:+UseSerialGC',
        `-Djava.io.tmpdir=${directory}`,
        '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
        '-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info',
        '-cp',
        join(KAFKA_JARS, '*'),
        main,
        ...args,
      ],
      ready,
    );
  const cluster = randomBytes(16).toString('base64url');
  await java('kafka.tools.StorageTool', ['format', '-t', cluster, '-c', file], /Formatting/);
  await java('kafka.Kafka', [file], /Kafka Server started/);
  return `127.0.0.1:${port}`;
}

async function openReceiver(_directory, run) {
  const port = await freePort();
  await run(
    process.execPath,
    [fileURLToPath(new URL('receiver.js', import.meta.url)), `${port}`],
    /listening/,
  );
  return `http://127.0.0.1:${port}/`;
}

/** Resolves when the process has printed that it is ready. Goes on reading what it prints. */
function printed(child, program, ready) {
  return new Promise((resolve, reject) => {
    let output = '';
    const fail = what => reject(new Error(`${program} ${what}. It printed:\n${output}`));
    const deadline = setTimeout(() => fail(`was not ready within ${START_SECONDS} s`), START_SECONDS * 1000);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        output = (output + text).slice(-20_000);
        if (!ready.test(output)) return;
        clearTimeout(deadline);
        resolve();
      });
    }
    child.once('error', error => fail(error.message));
    child.once('exit', code => {
      clearTimeout(deadline);
      fail(`ended with ${code} before it was ready`);
    });
  });
}
