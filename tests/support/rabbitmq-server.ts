import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Broker, freePort, namedBroker, newDirectory, startBroker } from './broker.js';
import { rabbitmqPath } from './requires.js';

export interface RabbitmqServer extends Broker {
  /** e.g. `amqp://guest:guest@127.0.0.1:23456` */
  readonly url: string;
}

/**
 * A RabbitMQ of its own on 127.0.0.1, without plugins. Durable queues with persistent messages survive `kill`. With
 * TEST_RABBITMQ_URL, the server named there, as it is.
 */
export async function startRabbitmq(): Promise<RabbitmqServer> {
  const named = process.env.TEST_RABBITMQ_URL;
  if (named) return Object.assign(namedBroker('TEST_RABBITMQ_URL'), { url: named });

  const program = rabbitmqPath();
  if (program === undefined) throw new Error('rabbitmq-server is not installed');
  const [port, distribution, epmd] = [await freePort(), await freePort(), await freePort()];
  const directory = newDirectory('rabbitmq');
  const path = (name: string) => join(directory, name);
  writeFileSync(path('enabled_plugins'), '[].\n');
  writeFileSync(path('rabbitmq.conf'), '');
  writeFileSync(path('rabbitmq-env.conf'), '');

  // Starts Erlang's registry of nodes first. Otherwise RabbitMQ starts one that outlives it and that others share.
  const names = { ERL_EPMD_PORT: String(epmd), ERL_EPMD_ADDRESS: '127.0.0.1' };
  const broker = await startBroker(port, [
    {
      program: 'epmd',
      args: ['-d', '-d'],
      directory,
      env: names,
      ready: /entering the main select\(\) loop/,
    },
    {
      program,
      args: [],
      directory,
      env: {
        ...names,
        RABBITMQ_NODENAME: `postroom-${port}@localhost`,
        RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
        RABBITMQ_NODE_PORT: String(port),
        RABBITMQ_DIST_PORT: String(distribution),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
        RABBITMQ_MNESIA_BASE: path('mnesia'),
        RABBITMQ_LOG_BASE: path('log'),
        RABBITMQ_LOGS: '-',
        RABBITMQ_CONFIG_FILE: path('rabbitmq.conf'),
        RABBITMQ_CONF_ENV_FILE: path('rabbitmq-env.conf'),
        RABBITMQ_ENABLED_PLUGINS_FILE: path('enabled_plugins'),
        // Then the start script becomes the server, and does not stay as its parent.
        RUNNING_UNDER_SYSTEMD: 'true',
      },
      ready: /Server startup complete/,
    },
  ]);
  return Object.assign(broker, { url: `amqp://guest:guest@127.0.0.1:${port}` });
}
