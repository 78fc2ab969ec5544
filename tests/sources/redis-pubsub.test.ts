import { Redis } from 'ioredis';
import { startRedis } from '../support/redis-server.js';
import { sourceContract } from './source-contract.js';

sourceContract({ name: 'redis-pubsub', needs: ['redis'], keeps: false }, async () => {
  const server = await startRedis();
  const redis = new Redis(server.url);
  return {
    settings: { REDIS_URL: server.url, REDIS_CHANNELS: 'postroom' },
    async send(body) {
      await redis.publish('postroom', body);
    },
    renew: async () => undefined,
    async close() {
      redis.disconnect();
      await server.stop();
    },
  };
});
