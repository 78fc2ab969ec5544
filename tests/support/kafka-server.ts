import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Broker, freePort, namedBroker, newDirectory, runToEnd, startBroker } from './broker.js';
import { kafkaJars } from './requires.js';

export interface KafkaServer extends Broker {
  /** e.g. `127.0.0.1:23456`, as `bootstrap.servers` has it */
  readonly brokers: string;
}

/**
 * A Kafka of its own on 127.0.0.1: one node that is its own controller (KRaft) and makes topics on demand. With
 * TEST_KAFKA_BROKERS, the servers named there, as they are.
 * @param cluster the id of its cluster, 16 bytes in base64url
 */
export async function startKafka(cluster = randomBytes(16).toString('base64url')): Promise<KafkaServer> {
  const named = process.env.TEST_KAFKA_BROKERS;
  if (named) return Object.assign(namedBroker('TEST_KAFKA_BROKERS'), { brokers: named });

  const [port, controller] = [await freePort(), await freePort()];
  const directory = newDirectory('kafka');
  const properties = join(directory, 'server.properties');
  writeFileSync(properties, settings(directory, port, controller));

  await runToEnd(
    java(directory, 'kafka.tools.StorageTool', 'format', `--cluster-id=${cluster}`, '-c', properties),
  );
  const broker = await startBroker(port, [
    { ...java(directory, 'kafka.Kafka', properties), ready: /Kafka Server started/ },
  ]);
  return Object.assign(broker, { brokers: `127.0.0.1:${port}` });
}

function settings(directory: string, port: number, controller: number): string {
  const properties = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(directory, 'data'),
    'auto.create.topics.enable': true,
    'group.initial.rebalance.delay.ms': 0,
    // A killed broker may come back only when its old session is over: usually after 9 s.
    'broker.session.timeout.ms': 2000,
    'broker.heartbeat.interval.ms': 500,
    // One node holds the only copy. One partition of each inner topic is made faster than the usual fifty.
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 1,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'share.coordinator.state.topic.num.partitions': 1,
  };
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

function java(directory: string, main: string, ...args: string[]) {
  // With a simple compiler and garbage collector they start in half the time.
  const machine = [
    '-Xmx384m',
    '-XX:TieredStopAtLevel=1',
    '-XX:+UseSerialGC',
    `-Djava.io.tmpdir=${directory}`,
  ];
  const log = {
    'org.slf4j.simpleLogger.defaultLogLevel': 'warn',
    'org.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer': 'info',
  };
  const logging = Object.entries(log).map(([name, value]) => `-D${name}=${value}`);
  return {
    program: 'java',
    args: [...machine, ...logging, '-cp', join(kafkaJars, '*'), main, ...args],
    directory,
  };
}
