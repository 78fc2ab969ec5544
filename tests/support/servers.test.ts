import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { BROKER_TIMEOUT, type Broker } from './broker.js';
import { startKafka } from './kafka-server.js';
import { startRabbitmq } from './rabbitmq-server.js';
import { startRedis } from './redis-server.js';
import { describeWith } from './requires.js';

describeWith(['own-redis'], 'a Redis of its own', () => {
  it('answers, keeps its data when it is killed, and is gone after stop', async () => {
    const redis = await startRedis();
    const port = portOf(redis.url);
    expect(await ask(port, 'PING\r\n', 7)).toBe('+PONG\r\n');

    expect(await ask(port, 'SET letter kept\r\n', 5)).toBe('+OK\r\n');
    await killAndRestart(redis, port);
    expect(await ask(port, 'GET letter\r\n', 10)).toBe('$4\r\nkept\r\n');

    await stopped(redis, port);
  });

  it('takes other arguments', async () => {
    const redis = await startRedis({ args: ['--appendfsync', 'always'] });
    const answer = await ask(portOf(redis.url), 'CONFIG GET appendfsync\r\n', 34);
    expect(answer).toMatch(/always/);
  });

  it('stands still in between', async () => {
    const redis = await startRedis();
    redis.pause();
    const answer = ask(portOf(redis.url), 'PING\r\n', 7);
    expect(await Promise.race([answer, connected(portOf(redis.url))])).toBe('connected');
    redis.resume();
    expect(await answer).toBe('+PONG\r\n');
  });
});

describeWith(['own-rabbitmq'], 'a RabbitMQ of its own', () => {
  it(
    'answers, again after it was killed, and is gone after stop',
    async () => {
      // A method frame, Connection.Start, answers the protocol's name and version.
      const header = Buffer.from('AMQP\x00\x00\x09\x01', 'latin1');
      const start = Buffer.from([0, 10, 0, 10]).toString('latin1');
      const rabbitmq = await startRabbitmq();
      const port = portOf(rabbitmq.url);
      expect((await ask(port, header, 11)).slice(7, 11)).toBe(start);

      await killAndRestart(rabbitmq, port);
      expect((await ask(port, header, 11)).slice(7, 11)).toBe(start);

      await stopped(rabbitmq, port);
    },
    BROKER_TIMEOUT,
  );
});

describeWith(['own-kafka'], 'a Kafka of its own', () => {
  it(
    'answers, again after it was killed, and is gone after stop',
    async () => {
      // ApiVersions, version 0, of a client without a name. The answer has the same correlation id and error code 0.
      const request = Buffer.from([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 42, 255, 255]);
      const answer = Buffer.from([0, 0, 0, 42, 0, 0]).toString('latin1');
      // One cluster id in 64 begins like an option.
      const kafka = await startKafka('-BCDEFGHIJKLMNOPQRSTUA');
      const port = portOf(`kafka://${kafka.brokers}`);
      expect((await ask(port, request, 10)).slice(4, 10)).toBe(answer);

      await killAndRestart(kafka, port);
      expect((await ask(port, request, 10)).slice(4, 10)).toBe(answer);

      await stopped(kafka, port);
    },
    BROKER_TIMEOUT,
  );
});

describe('a server that the environment names', () => {
  it.each([
    ['TEST_REDIS_URL', startRedis, { url: 'there' }],
    ['TEST_RABBITMQ_URL', startRabbitmq, { url: 'there' }],
    ['TEST_KAFKA_BROKERS', startKafka, { brokers: 'there' }],
  ])('is taken as it is, and not killed: %s', async (variable, start, address) => {
    const before = process.env[variable];
    process.env[variable] = 'there';
    try {
      const broker = await start();
      expect(broker).toMatchObject({ own: false, ...address });
      await expect(broker.kill()).rejects.toThrow(`cannot kill the server that ${variable} names`);
      await expect(broker.restart()).rejects.toThrow(`cannot restart the server that ${variable} names`);
      expect(() => broker.pause()).toThrow(`cannot pause the server that ${variable} names`);
      await broker.stop();
    } finally {
      if (before === undefined) delete process.env[variable];
      else process.env[variable] = before;
    }
  });
});

async function killAndRestart(broker: Broker, port: number): Promise<void> {
  const killed = broker.pid;
  await broker.kill();
  expect(existsSync(`/proc/${killed}`)).toBe(false);
  await expect(connected(port)).rejects.toThrow(/ECONNREFUSED/);
  await broker.restart();
  expect(broker.pid).not.toBe(killed);
}

async function stopped(broker: Broker, port: number): Promise<void> {
  await broker.stop();
  expect(existsSync(`/proc/${broker.pid}`)).toBe(false);
  await expect(connected(port)).rejects.toThrow(/ECONNREFUSED/);
  await broker.stop();
}

async function connected(port: number): Promise<'connected'> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect').finally(() => socket.destroy());
  return 'connected';
}

/** At least the first `length` bytes of the answer, in Latin-1. */
async function ask(port: number, question: string | Buffer, length: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(question);
  let answer = '';
  for await (const bytes of socket.setEncoding('latin1')) {
    answer += bytes;
    if (answer.length >= length) return answer;
  }
  throw new Error(`closed after: ${answer}`);
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}
