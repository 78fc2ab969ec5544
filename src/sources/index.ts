import type { SourceRow } from './source.js';

export { NotifyEndpoint } from './http.js';
export { Intake } from './intake.js';
export { WantedSource } from './wanted.js';

/** Every source besides HTTP. A driver is loaded only if a setting asks for it. */
export const sources: readonly SourceRow[] = [
  {
    name: 'redis-pubsub',
    isWanted: settings => settings.REDIS_CHANNELS.length > 0,
    async open(settings, intake) {
      const { RedisPubSubSource } = await import('./redis-pubsub.js');
      return new RedisPubSubSource(settings, intake);
    },
  },
  {
    name: 'redis-stream',
    isWanted: settings => settings.REDIS_STREAM !== undefined,
    async open(settings, intake) {
      const { RedisStreamSource } = await import('./redis-stream.js');
      return new RedisStreamSource(settings, intake);
    },
  },
  {
    name: 'rabbitmq',
    isWanted: settings => settings.RABBITMQ_URL !== undefined,
    async open(settings, intake) {
      const { RabbitMqSource } = await import('./rabbitmq.js');
      return new RabbitMqSource(settings, intake);
    },
  },
  {
    name: 'kafka',
    isWanted: settings => settings.KAFKA_BROKERS.length > 0,
    async open(settings, intake) {
      const { KafkaSource } = await import('./kafka.js');
      return new KafkaSource(settings, intake);
    },
  },
];
