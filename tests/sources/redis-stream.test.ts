import { Redis } from 'ioredis';
import { startRedis } from '../support/redis-server.js';
import { sourceContract } from './source-contract.js';

sourceContract({ name: 'redis-stream', needs: ['redis'], keeps: true }, async () => {
  const server = await startRedis();
  const redis = new Redis(server.url);
  let stream = newName();
  return {
    get settings() {
      return { REDIS_URL: server.url, REDIS_STREAM: stream };
    },
    async send(body) {
      await redis.xadd(stream, '*', 'json', body);
    },
    async deadLetters() {
      const entries = await redis.xrange(`${stream}.dead`, '-', '+');
      return entries.map(([, [, body = '', , reason = '']]) => ({ body, reason }));
    },
    async renew() {
      stream = newName();
    },
    async close() {
      redis.disconnect();
      await server.stop();
    },
  };
});

function newName(): string {
  return `stream-${Math.random()}`;
}
