import { describe, expect, it } from '@jest/globals';
import { startProcess } from '../support/process.js';
import { startProxy } from '../support/proxy.js';
import { areInOrder, InsistentPublisher, ResumingListener } from '../support/resuming.js';

const KEY = 'a-key-for-the-restart-test-of-32-characters';
const RESTARTS = 4;
const environment = { NOTIFY_KEYS: KEY, JWT_SECRET: KEY, JOURNAL: 'disk', DRAIN_SECONDS: '1' };

describe('a rolling restart behind a TCP proxy', () => {
  it('loses no publish, and no client misses anything', async () => {
    let server = await startProcess(environment);
    const proxy = await startProxy();
    proxy.to(server.port);
    const url = `http://127.0.0.1:${proxy.port}`;
    const listeners = [1, 2, 3].map(
      () => new ResumingListener(() => `${url.replace('http', 'ws')}/ws?room=public.restart`),
    );
    for (const listener of listeners) await listener.until(({ connections }) => connections > 0);

    let stopping = false;
    const publishers = [0, 1].map(() => new InsistentPublisher(() => url, KEY));
    const publishing = publishers.map(async (publisher, index) => {
      for (let number = 0; !stopping; number++)
        await publisher.publish('public.restart', `${index}:${number}`);
    });

    for (let restart = 0; restart < RESTARTS; restart++) {
      const heard = listeners[0]?.heard.length ?? 0;
      await listeners[0]?.until(listener => listener.heard.length >= heard + 100);
      expect(await server.stop('SIGTERM')).toBe(0);
      proxy.to(undefined);
      server = await startProcess(environment, server.directory);
      proxy.to(server.port);
      for (const listener of listeners) await listener.until(({ connections }) => connections >= restart + 2);
    }
    stopping = true;
    await Promise.all(publishing);

    const accepted = new Map(publishers.flatMap(publisher => [...publisher.accepted]));
    for (const listener of listeners) {
      await listener.until(({ heard }) => heard.length >= accepted.size);
      expect(listener.lost).toBe(0);
      expect(listener.closeCodes.filter(code => code === 4400)).toHaveLength(RESTARTS);
      expect(new Map(listener.heard.map(({ id, data }) => [data, id]))).toEqual(accepted);
      expect(listener.heard).toHaveLength(accepted.size);
      expect(areInOrder(listener.heard)).toBe(true);
    }
  }, 60_000);
});
