import { z } from 'zod';
import { matches } from './model/pattern.js';
import {
  amqpUrl,
  backendUrl,
  flag,
  HOW_TO_MAKE_ONE,
  list,
  MIN_SECRET_LENGTH,
  origins,
  port,
  prefix,
  publicKey,
  redisUrl,
  secret,
  topic,
  webhookKey,
  whole,
} from './setting-forms.js';
import { EVENT_TYPES } from './webhooks/event.js';

/** Checks each setting alone, by the name of its environment variable. */
export const Settings = z.object({
  NODE_ENV: z
    .enum(
      ['production', 'development', 'test'],
      'must be production, development or test; an empty one means development',
    )
    .optional(),
  HOST: z.string().default('127.0.0.1'),
  PORT: port(8080),
  INTERNAL_PORT: port(0).unwrap().optional(),
  INTERNAL_HOST: z.string().default('127.0.0.1'),
  INTERNAL_ONLY: flag,
  NOTIFY_SOCKET: z.string().optional(),
  NOTIFY_KEYS: list([]).refine(
    keys => keys.every(key => /^[\x21-\x7e]{32,}$/.test(key)),
    `must be a comma-separated list of keys of ${MIN_SECRET_LENGTH} visible ASCII characters or more each; ${HOW_TO_MAKE_ONE}`,
  ),
  JWT_SECRET: secret,
  JWT_PREVIOUS_SECRET: secret,
  JWT_PUBLIC_KEY: publicKey,
  JWT_JWKS_URL: backendUrl,
  MAX_TOKEN_SECONDS: whole(366 * 24 * 60 * 60, 60, 100 * 366 * 24 * 60 * 60),
  PUBLIC_ROOMS: list(['public.*']).transform(rooms => (rooms.join() === 'none' ? [] : rooms)),
  ALLOWED_ORIGINS: origins,
  AUTH_URL: backendUrl,
  AUTH_REFRESH_SECONDS: whole(300, 10, 24 * 60 * 60),
  AUTH_MAX_REQUESTS: whole(32, 1, 1000),
  TRUST_PROXY: z
    .string()
    .transform(text => (/^(off|false)$/i.test(text) ? '0' : text))
    .pipe(whole(0, 0, 100).unwrap())
    .default(0),
  JOURNAL: z.enum(['disk', 'memory', 'redis'], 'must be disk, memory or redis').default('disk'),
  DATA_DIR: z.string().default('./data'),
  RETENTION_SECONDS: whole(600, 1, 30 * 24 * 60 * 60),
  RETENTION_BYTES: whole(64 * 1024 * 1024, 1024, 64 * 1024 ** 3),
  MAX_NOTIFICATION_BYTES: whole(102400, 64, 8 * 1024 * 1024),
  MAX_FRAME_BYTES: whole(16384, 256, 1024 * 1024),
  MAX_CONNECTIONS: whole(100000, 1, 10_000_000),
  MAX_HTTP_CONNECTIONS: whole(50000, 10, 10_000_000),
  MAX_CONNECTIONS_PER_USER: whole(10000, 1, 10_000_000),
  PRESENCE_ROOMS: list(['presence.*', 'presence-*']).transform(rooms =>
    rooms.join() === 'none' ? [] : rooms,
  ),
  PRESENCE_GRACE_SECONDS: whole(3, 0, 3600),
  MAX_PRESENCE_MEMBERS: whole(1000, 1, 100_000),
  MAX_ROOMS_PER_CONNECTION: whole(100, 0, 1000),
  MAX_BUFFERED_BYTES: whole(1024 * 1024, 1024, 1024 ** 3),
  PING_SECONDS: whole(25, 1, 3600),
  DRAIN_SECONDS: whole(10, 0, 3600),
  REQUEST_TIMEOUT_SECONDS: whole(10, 1, 300),
  REDIS_URL: redisUrl,
  REDIS_PREFIX: prefix.default('postroom'),
  REDIS_CHANNELS: list([]),
  REDIS_CHANNEL_PREFIX: z.string().default(''),
  REDIS_STREAM: z.string().optional(),
  RABBITMQ_URL: amqpUrl,
  RABBITMQ_QUEUE: z.string().max(200, 'must have 200 characters or less').default('postroom'),
  RABBITMQ_PREFETCH: whole(1000, 1, 65535),
  KAFKA_BROKERS: list([]).refine(
    brokers => brokers.every(broker => /^(\[[0-9a-f:.]+\]|[\w.-]+):\d{1,5}$/i.test(broker)),
    'must be a comma-separated list of host:port',
  ),
  KAFKA_TOPIC: topic.default('postroom'),
  KAFKA_GROUP: z.string().max(200, 'must have 200 characters or less').default('postroom'),
  KAFKA_TLS: flag,
  KAFKA_SASL_MECHANISM: z
    .enum(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'], 'must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512')
    .default('SCRAM-SHA-512'),
  KAFKA_SASL_USERNAME: z.string().optional(),
  KAFKA_SASL_PASSWORD: z.string().optional(),
  WEBHOOK_URL: backendUrl,
  WEBHOOK_SECRET: webhookKey,
  WEBHOOK_EVENTS: list(['*']).superRefine((patterns, context) => {
    if (patterns.length === 0) context.addIssue('has no event; leave it out to hear of all');
    for (const pattern of patterns)
      if (!EVENT_TYPES.some(type => matches(pattern, type)))
        context.addIssue(`has ${pattern}, which is no event; there are ${EVENT_TYPES.join(', ')}`);
  }),
  WEBHOOK_ROOMS: list(['*']),
  WEBHOOK_RETENTION_SECONDS: whole(24 * 60 * 60, 1, 30 * 24 * 60 * 60),
  WEBHOOK_RETENTION_BYTES: whole(64 * 1024 * 1024, 1024, 64 * 1024 ** 3),
  CALL_URL: backendUrl,
  CALL_TIMEOUT_SECONDS: whole(5, 1, 300),
  MAX_CALLS: whole(100, 1, 10_000),
  MAX_CLIENT_MESSAGES_PER_SECOND: whole(10, 1, 100_000),
  LOG_LEVEL: z
    .enum(
      ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
      'must be fatal, error, warn, info, debug, trace or silent',
    )
    .default('info'),
});

/** The settings, each checked alone. */
export type Settings = z.output<typeof Settings>;

/** Whether tokens can be checked without a secret. */
export function hasPublicKeys({ JWT_PUBLIC_KEY, JWT_JWKS_URL }: Settings): boolean {
  return JWT_PUBLIC_KEY !== undefined || JWT_JWKS_URL !== undefined;
}
