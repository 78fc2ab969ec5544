import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from '@jest/globals';
import { BROKER_TIMEOUT, newDirectory } from '../support/broker.js';
import { openPage, openSite } from '../support/browser.js';
import { type Outcome, runShell } from '../support/commands.js';
import { untilReport } from '../support/health.js';
import { type KafkaServer, startKafka } from '../support/kafka-server.js';
import { type Environment, type ServerProcess, startProcess } from '../support/process.js';
import { type RabbitmqServer, startRabbitmq } from '../support/rabbitmq-server.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { KEY } from '../support/server.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const listener = readFileSync(new URL('listener.html', import.meta.url), 'utf8');
const bridges = readFileSync(join(root, 'docs/bridges.md'), 'utf8');
const nobody = '127.0.0.1:1';
/** ext-redis and Predis have their own order. */
const REFUSED_THERE = /127\.0\.0\.1:1\b.*refused|refused.*127\.0\.0\.1:1\b/;
// Time for a start of the server, a page and PHP, and for the longest wait of a script.
const TIMEOUT = 30_000;

describeWith(['php', 'chromium'], 'examples/php/curl.php', () => {
  it('sends to a browser', async () => {
    const server = await start('http');
    await expectHeard(
      server,
      'curl.php',
      { POSTROOM_URL: server.url, POSTROOM_KEY: KEY },
      /^\S+ went to 1 conn/,
    );
  });

  it('says what the server refused, and that there is none', async () => {
    const server = await start('http');
    const env = { POSTROOM_URL: server.url, POSTROOM_KEY: KEY };
    expectFault(await runExample('curl.php', { ...env, POSTROOM_KEY: 'wrong' }), /key/i);
    expectFault(await runExample('curl.php', env, ['no spaces, please']), /room/);
    await server.stop();
    expectFault(await runExample('curl.php', env), /no answer from .*connect/i);
  });
});

describeWith(['php', 'chromium'], 'examples/php/unix-socket.php', () => {
  const socket = join(newDirectory('socket'), 'postroom.sock');

  it('sends to a browser', async () => {
    const server = await start('unix-socket', { NOTIFY_SOCKET: socket });
    await expectHeard(server, 'unix-socket.php', { NOTIFY_SOCKET: socket }, /^\S+ went to 1 conn/);
  });

  it('says what the server refused, and that there is none', async () => {
    const env = { NOTIFY_SOCKET: socket };
    const server = await start('unix-socket', env);
    expectFault(await runExample('unix-socket.php', env, ['no spaces, please']), /room/);
    await server.stop();
    expectFault(await runExample('unix-socket.php', env), /no answer from \S+postroom\.sock: /);
  });
});

describeWith(['curl', 'chromium'], 'the curl lines of docs/bridges.md', () => {
  it('send to a browser over the Unix socket', async () => {
    const line = /^curl --unix-socket (?:\\\n|[^\n])*/m.exec(bridges)?.[0] ?? '';
    const socket = join(newDirectory('socket'), 'postroom.sock');
    const server = await start('unix-socket', { NOTIFY_SOCKET: socket });
    const browser = await openListener(server);
    const outcome = await runShell(line.replace('/tmp/postroom.sock', socket));
    expect(JSON.parse(outcome.stdout)).toMatchObject({ connections: 1, duplicate: false });
    expect(await browser.first()).toBe('order.paid {"order":42}');
  });
});

for (const { client, program, options } of [
  { client: 'ext-redis', program: 'php-redis', options: [] },
  // Without its configuration, PHP has no extensions from packages.
  { client: 'Predis', program: 'php-predis', options: ['-n'] },
] as const) {
  describeWith(['redis', 'php', program, 'chromium'], `with ${client}`, () => {
    let redis: RedisServer;
    beforeAll(async () => {
      redis = await startRedis();
    }, BROKER_TIMEOUT);

    it('examples/php/redis-publish.php sends to a browser', async () => {
      const channel = newName();
      const server = await start('redis-pubsub', { REDIS_URL: redis.url, REDIS_CHANNELS: channel });
      const env = { REDIS_URL: redis.url, REDIS_CHANNEL: channel };
      await expectHeard(server, 'redis-publish.php', env, /^published to 1 listeners/, options);
    });

    it('examples/php/redis-publish.php says that nobody listens, and that there is no Redis', async () => {
      const env = { REDIS_URL: redis.url, REDIS_CHANNEL: newName() };
      expectFault(await runExample('redis-publish.php', env, [], options), /REDIS_CHANNELS=/);
      const down = { REDIS_URL: `redis://${nobody}` };
      expectFault(await runExample('redis-publish.php', down, [], options), REFUSED_THERE);
    });

    it('examples/php/redis-stream.php sends to a browser', async () => {
      const env = { REDIS_URL: redis.url, REDIS_STREAM: newName() };
      const server = await start('redis-stream', env);
      await expectHeard(server, 'redis-stream.php', env, /^\d+-\d+ is in the stream/, options);
    });

    it('examples/php/redis-stream.php says what Redis refused, and that there is none', async () => {
      const wrong = { REDIS_URL: redis.url.replace('//', '//:wrong@') };
      expectFault(await runExample('redis-stream.php', wrong, [], options), /AUTH/);
      const down = { REDIS_URL: `redis://${nobody}` };
      expectFault(await runExample('redis-stream.php', down, [], options), REFUSED_THERE);
    });
  });
}

describeWith(['rabbitmq', 'php', 'php-amqplib', 'chromium'], 'examples/php/rabbitmq.php', () => {
  let rabbitmq: RabbitmqServer;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
  }, BROKER_TIMEOUT);

  it(
    'sends to a browser',
    async () => {
      const env = { RABBITMQ_URL: rabbitmq.url, RABBITMQ_QUEUE: newName() };
      const server = await start('rabbitmq', env);
      await expectHeard(server, 'rabbitmq.php', env, /^[0-9a-f]{32} is in the queue/);
    },
    TIMEOUT,
  );

  it('says that there is no queue, and that there is no RabbitMQ', async () => {
    const env = { RABBITMQ_URL: rabbitmq.url, RABBITMQ_QUEUE: newName() };
    expectFault(await runExample('rabbitmq.php', env), /there is no queue/);
    const down = { RABBITMQ_URL: `amqp://${nobody}` };
    expectFault(await runExample('rabbitmq.php', down), /refused/);
  });
});

describeWith(['kafka', 'php', 'php-rdkafka', 'chromium'], 'examples/php/kafka.php', () => {
  const options = ['-d', `auto_prepend_file=${join(root, 'tests/support/rdkafka-ffi.php')}`];
  let kafka: KafkaServer;
  beforeAll(async () => {
    kafka = await startKafka();
  }, BROKER_TIMEOUT);

  it(
    'sends to a browser',
    async () => {
      const env = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: newName() };
      const server = await start('kafka', env);
      await expectHeard(server, 'kafka.php', env, /^in the topic \S+, partition 0, offset \d+$/m, options);
    },
    TIMEOUT,
  );

  it(
    'says that there is no Kafka',
    async () => {
      const down = { KAFKA_BROKERS: nobody };
      expectFault(await runExample('kafka.php', down, [], options), /refused/);
    },
    TIMEOUT,
  );
});

/** The real program with one bridge. Messages can come in through it when this resolves. */
async function start(source: string, settings: Environment = {}): Promise<ServerProcess> {
  const server = await startProcess({ NOTIFY_KEYS: KEY, ...settings });
  await untilReport(server, ({ sources }) => sources[source]?.connected === true);
  return server;
}

/** Checks that an example succeeds with one line, as it is and then with arguments, and is heard by a browser, once. */
async function expectHeard(
  server: ServerProcess,
  name: string,
  env: Record<string, string>,
  line: RegExp,
  options: readonly string[] = [],
): Promise<void> {
  const browser = await openListener(server);
  for (const args of [[], ['public.orders', 'Parcel for Zoë']]) {
    const outcome = await runExample(name, env, args, options);
    expect(outcome).toEqual({ code: 0, stderr: '', stdout: expect.stringMatching(/^.+\n$/) });
    expect(outcome.stdout).toMatch(line);
  }
  await browser.shown.nth(1).waitFor();
  expect(await browser.shown.allTextContents()).toEqual([
    'order.paid {"order":42,"total":"19.90"}',
    'order.paid "Parcel for Zoë"',
  ]);
  expect(browser.page.faults).toEqual([]);
}

/** Checks that an example failed with one line that says why. */
function expectFault(outcome: Outcome, reason: RegExp): void {
  expect(outcome).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(/^Not sent: .+\n$/) });
  expect(outcome.stderr).toMatch(reason);
}

/** Runs an example of examples/php/. Every notice and deprecation goes to stderr. */
function runExample(
  name: string,
  env: Record<string, string>,
  args: readonly string[] = [],
  options: readonly string[] = [],
): Promise<Outcome> {
  const strict = ['-d', 'error_reporting=-1', '-d', 'display_errors=stderr', '-d', 'html_errors=0'];
  const settings = Object.entries(env).map(([variable, value]) => `${variable}=${value}`);
  const words = ['env', ...settings, 'php', ...options, ...strict, join(root, 'examples/php', name), ...args];
  return runShell(words.map(word => `'${word.replaceAll("'", "'\\''")}'`).join(' '));
}

/** A visitor's page on another origin than the server's. Its plain WebSocket has joined when this resolves. */
async function openListener(server: ServerProcess) {
  const socket = `ws://127.0.0.1:${server.port}/ws?room=public.orders`;
  const page = await openPage();
  await page.goto(`${await openSite(listener)}#${encodeURIComponent(socket)}`);
  await page.getByText('listening to public.orders', { exact: true }).waitFor();
  const shown = page.locator('li');
  return { page, shown, first: () => shown.first().textContent() };
}

/** The name of a new channel, stream, queue or topic, because others may use the same broker. */
function newName(): string {
  return `postroom-${process.pid}-${++names}`;
}

let names = 0;
