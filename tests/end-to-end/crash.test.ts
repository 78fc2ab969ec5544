import { randomInt } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { startProcess } from '../support/process.js';
import { areInOrder, InsistentPublisher, ResumingListener } from '../support/resuming.js';

const KEY = 'a-key-for-the-crash-test-of-32-characters';
const KILLS = 20;
const LISTENERS = 3;
const PUBLISHERS = 4;
const environment = { NOTIFY_KEYS: KEY, JWT_SECRET: KEY, JOURNAL: 'disk', LOG_LEVEL: 'info' };

describe('kill -9 in mid-stream', () => {
  it(`${KILLS} times: what was answered with 200 is heard once and in order by everyone`, async () => {
    let server = await startProcess(environment);
    const { url, port, directory } = server;
    const listeners = Array.from(
      { length: LISTENERS },
      () => new ResumingListener(() => `${url.replace('http', 'ws')}/ws?room=public.crash`),
    );
    for (const listener of listeners) await listener.until(({ connections }) => connections > 0);

    let stopping = false;
    let published = 0;
    let notice = () => {};
    const publishers = Array.from({ length: PUBLISHERS }, () => new InsistentPublisher(() => url, KEY));
    const publishing = publishers.map(async (publisher, index) => {
      for (let number = 0; !stopping; number++) {
        await publisher.publish('public.crash', `${index}:${number}`);
        published++;
        notice();
      }
    });
    const publishedMore = async (count: number) => {
      const enough = published + count;
      while (published < enough)
        await new Promise<void>(resolve => {
          notice = resolve;
        });
    };

    for (let kill = 0; kill < KILLS; kill++) {
      await publishedMore(randomInt(1, 200));
      await server.stop('SIGKILL');
      server = await startProcess({ ...environment, PORT: String(port) }, directory);
    }
    await publishedMore(50);
    stopping = true;
    await Promise.all(publishing);

    const accepted = new Map(publishers.flatMap(publisher => [...publisher.accepted]));
    const retries = publishers.reduce((sum, publisher) => sum + publisher.retries, 0);
    expect(retries).toBeGreaterThanOrEqual(KILLS);
    for (const listener of listeners) {
      await listener.until(({ heard }) => heard.length >= accepted.size);
      expect(listener.lost).toBe(0);
      expect(listener.connections).toBeGreaterThan(KILLS / 2);
      expect(new Map(listener.heard.map(({ id, data }) => [data, id]))).toEqual(accepted);
      expect(listener.heard).toHaveLength(accepted.size);
      expect(areInOrder(listener.heard)).toBe(true);
    }
  }, 120_000);
});
