import { type Broker, freePort, namedBroker, newDirectory, startBroker } from './broker.js';

export interface RedisServer extends Broker {
  /** e.g. `redis://127.0.0.1:23456` */
  readonly url: string;
}

/**
 * A Redis of its own on 127.0.0.1, with an append-only file that is written once a second. This is the usual setting: a
 * killed process loses only what came while the disk was busy. `args` (`--appendfsync always`) overrule it. With
 * TEST_REDIS_URL, the server named there, as it is.
 */
export async function startRedis({ args = [] }: { args?: readonly string[] } = {}): Promise<RedisServer> {
  const named = process.env.TEST_REDIS_URL;
  if (named) return Object.assign(namedBroker('TEST_REDIS_URL'), { url: named });

  const port = await freePort();
  const directory = newDirectory('redis');
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    'protected-mode': 'yes',
    dir: directory,
    save: '',
    appendonly: 'yes',
    appendfsync: 'everysec',
  };
  const broker = await startBroker(port, [
    {
      program: 'redis-server',
      args: [...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]), ...args],
      directory,
      ready: /Ready to accept connections/,
    },
  ]);
  return Object.assign(broker, { url: `redis://127.0.0.1:${port}` });
}
