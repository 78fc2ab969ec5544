import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from '@jest/globals';

/** `own-…` is the broker if the tests start it themselves, for suites that kill it. */
export type Program =
  | 'php'
  | 'php-redis'
  | 'php-amqplib'
  | 'php-predis'
  | 'php-rdkafka'
  | 'php-fpm'
  | 'php-sqlite'
  | 'chromium'
  | 'curl'
  | 'prlimit'
  | 'nginx'
  | 'haproxy'
  | 'redis'
  | 'rabbitmq'
  | 'kafka'
  | 'own-redis'
  | 'own-rabbitmq'
  | 'own-kafka';

interface Requirement {
  name: string;
  /** The report of a suite without it. */
  reason: string;
  isThere: () => boolean;
}

/** `fetch-kafka.sh` puts them here. */
export const kafkaJars = fileURLToPath(new URL('../../.cache/kafka', import.meta.url));

const redis = installed('redis-server', 'redis-server', () => inPath('redis-server') !== undefined);
const rabbitmq = installed('rabbitmq-server', 'rabbitmq-server', () => rabbitmqPath() !== undefined);
const kafka: Requirement = {
  name: 'Kafka',
  reason:
    'Kafka is not there (Debian: apt install default-jre-headless maven, then tests/support/fetch-kafka.sh)',
  // fetch-kafka.sh puts the pom there last.
  isThere: () => inPath('java') !== undefined && existsSync(join(kafkaJars, 'pom.xml')),
};

const requirements: Record<Program, Requirement> = {
  php: installed('php with ext-curl', 'php-cli php-curl', () => runsPhp('extension_loaded("curl")')),
  'php-redis': installed('php with ext-redis', 'php-cli php-redis', () =>
    runsPhp('extension_loaded("redis")'),
  ),
  'php-amqplib': installed('php-amqplib', 'php-cli php-amqplib', () =>
    runsPhp(
      '(include "/usr/share/php/PhpAmqpLib/autoload.php") && class_exists("PhpAmqpLib\\Message\\AMQPMessage")',
    ),
  ),
  'php-predis': installed('php-predis', 'php-cli php-predis', () =>
    runsPhp('(include "/usr/share/php/Predis/autoload.php") && class_exists("Predis\\Client")'),
  ),
  // No package has the extension: tests/support/rdkafka-ffi.php replaces it.
  'php-rdkafka': installed('php with FFI and librdkafka', 'php-cli librdkafka1', () =>
    runsPhp('extension_loaded("rdkafka") || FFI::cdef("int rd_kafka_version(void);", "librdkafka.so.1")'),
  ),
  'php-fpm': installed('php-fpm', 'php-fpm php-curl', () => isInPath(/^php-fpm([78]\.\d)?$/)),
  'php-sqlite': installed('php with pdo_sqlite', 'php-cli php-sqlite3', () =>
    runsPhp('extension_loaded("pdo_sqlite")'),
  ),
  chromium: installed('chromium', 'chromium', () => chromiumPath() !== undefined),
  prlimit: installed('prlimit', 'util-linux', () => inPath('prlimit') !== undefined),
  curl: installed('curl', 'curl', () => inPath('curl') !== undefined),
  nginx: installed('nginx', 'nginx', () => inPath('nginx') !== undefined),
  haproxy: installed('haproxy', 'haproxy', () => inPath('haproxy') !== undefined),
  redis: orNamed('TEST_REDIS_URL', redis),
  rabbitmq: orNamed('TEST_RABBITMQ_URL', rabbitmq),
  kafka: orNamed('TEST_KAFKA_BROKERS', kafka),
  'own-redis': notNamed('TEST_REDIS_URL', redis),
  'own-rabbitmq': notNamed('TEST_RABBITMQ_URL', rabbitmq),
  'own-kafka': notNamed('TEST_KAFKA_BROKERS', kafka),
};

/**
 * A suite that needs programs from outside npm. If one is missing, the suite reports it and does not pass silently.
 * With POSTROOM_TEST_REQUIRE_ALL=1, as in CI, it fails.
 */
export function describeWith(programs: Program[], title: string, body: () => void): void {
  const missing = programs.map(program => requirements[program]).filter(({ isThere }) => !isThere());
  if (missing.length === 0) {
    describe(title, body);
    return;
  }

  describe(title, () => {
    for (const { name, reason } of missing) {
      if (process.env.POSTROOM_TEST_REQUIRE_ALL === '1') {
        it(`needs ${name}`, () => {
          throw new Error(reason);
        });
      } else {
        it.skip(`skipped: ${reason}`, () => {});
      }
    }
  });
}

export function chromiumPath(): string | undefined {
  return inPath('chromium') ?? inPath('chromium-browser') ?? inPath('google-chrome');
}

export function rabbitmqPath(): string | undefined {
  // Debian's program in the PATH first becomes the user rabbitmq, who may not write in the tests' directory.
  const unwrapped = '/usr/lib/rabbitmq/bin/rabbitmq-server';
  return isExecutable(unwrapped) ? unwrapped : inPath('rabbitmq-server');
}

/** Where a program is. Debian keeps some programs out of the PATH of users other than root; it finds these too. */
export function inPath(program: string): string | undefined {
  return folders()
    .map(folder => join(folder, program))
    .find(isExecutable);
}

/** For a program whose name has a version. */
function isInPath(name: RegExp): boolean {
  return folders()
    .filter(existsSync)
    .some(folder => readdirSync(folder).some(program => name.test(program)));
}

function folders(): string[] {
  return [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'];
}

function installed(name: string, packages: string, isThere: () => boolean): Requirement {
  return { name, reason: `${name} is not installed (Debian: apt install ${packages})`, isThere };
}

/** It need not be installed if the environment names a server. */
function orNamed(variable: string, broker: Requirement): Requirement {
  return { ...broker, isThere: () => isNamed(variable) || broker.isThere() };
}

function notNamed(variable: string, broker: Requirement): Requirement {
  if (!isNamed(variable)) return broker;
  const reason = `${variable} names a server, which is not to be killed`;
  return { name: `a ${broker.name} of its own`, reason, isThere: () => false };
}

function isNamed(variable: string): boolean {
  return Boolean(process.env[variable]);
}

function runsPhp(condition: string): boolean {
  return spawnSync('php', ['-r', `exit(${condition} ? 0 : 1);`]).status === 0;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
