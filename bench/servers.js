/** The servers that can be measured. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UNHEARD } from './silence.js';
import { SECRET } from './php-fpm.js';
import { socketIoVersion } from './socket-io-version.js';

/** So that a client may send as fast as it can. */
const TALKATIVE = { MAX_CLIENT_MESSAGES_PER_SECOND: '100000' };

/** The stream, channel, queue or topic that the server reads. */
export const PLACE = 'bench';

const SOCKET = 'notify.sock'; // in the server's own directory

const BEFORE = join(process.env.POSTROOM_BEFORE ?? path('../.cache/before'), 'dist/main.js');

const postroom = { file: path('../dist/main.js'), joined: 'subscribed', nodes: 1 };
const disk = { ...postroom, journal: 'disk' };
const redis = {
  ...postroom,
  journal: 'redis',
  broker: 'redis',
  settings: address => ({ REDIS_URL: address }),
};

/**
 * The servers by name. `joined` tells a listener that it will now be served. `broker` is started before them, on the
 * load's core or, if `unpinned`, on any core. `source`: the load publishes through it, else by HTTP over TCP.
 */
export const SERVERS = {
  baseline: { file: path('./baseline.js'), joined: 'upgrade', nodes: 1 },
  postroom: { ...postroom, journal: 'memory' },
  // An older version, see beside.js.
  before: {
    ...postroom,
    file: BEFORE,
    journal: 'memory',
    lacks: () => (existsSync(BEFORE) ? undefined : 'an older checkout that is built: POSTROOM_BEFORE'),
  },
  'no-presence': { ...postroom, journal: 'memory', settings: () => ({ PRESENCE_ROOMS: 'none' }) },
  disk,
  'disk-webhooks': { ...disk, settings: () => UNHEARD },
  socket: { ...disk, source: 'unix-socket', settings: () => ({ NOTIFY_SOCKET: SOCKET }), socket: SOCKET },
  pubsub: {
    ...disk,
    broker: 'redis',
    source: 'redis-pubsub',
    settings: address => ({ REDIS_URL: address, REDIS_CHANNELS: PLACE }),
  },
  stream: {
    ...disk,
    broker: 'redis',
    source: 'redis-stream',
    settings: address => ({ REDIS_URL: address, REDIS_STREAM: PLACE }),
  },
  rabbitmq: {
    ...disk,
    broker: 'rabbitmq',
    source: 'rabbitmq',
    settings: address => ({ RABBITMQ_URL: address, RABBITMQ_QUEUE: PLACE }),
  },
  kafka: {
    ...disk,
    broker: 'kafka',
    source: 'kafka',
    settings: address => ({ KAFKA_BROKERS: address, KAFKA_TOPIC: PLACE }),
  },
  redis,
  'redis-unpinned': { ...redis, unpinned: true },
  'redis-2': { ...redis, nodes: 2 },
  'socket-io': {
    file: path('./socket-io.js'),
    nodes: 1,
    lacks: () => (socketIoVersion ? undefined : 'npm install --prefix .cache/socket.io socket.io@4'),
  },
  talk: { ...postroom, journal: 'memory', settings: () => TALKATIVE },
  'talk-disk': { ...disk, settings: () => TALKATIVE },
  'talk-webhooks': {
    ...disk,
    broker: 'receiver',
    settings: address => ({
      ...TALKATIVE,
      WEBHOOK_URL: address,
      WEBHOOK_SECRET: SECRET,
      WEBHOOK_EVENTS: 'message',
    }),
  },
  calls: {
    ...postroom,
    journal: 'memory',
    broker: 'php',
    settings: address => ({ ...TALKATIVE, CALL_URL: address, WEBHOOK_SECRET: SECRET }),
  },
  'redis-3': { ...redis, nodes: 3 },
};

function path(relative) {
  return fileURLToPath(new URL(relative, import.meta.url));
}
