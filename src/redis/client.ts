import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { parseRedisUrl } from './url.js';

export type RedisClient = Redis | Cluster;

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;
const CONNECT_TIMEOUT_MS = 5000;
const KEEP_ALIVE_MS = 10_000;
// A connection without an answer for so long is given up. A blocking read must be shorter.
const SILENCE_MS = 5000;
const SENTINEL_TIMEOUT_MS = 1000;

/** A client calls these. */
export interface RedisEvents {
  /** The client can be used, for the first time or again. */
  readonly ready: () => void;
  /** The client has no connection, and tries again by itself. Called with the reason for each attempt that fails. */
  readonly lost: (error: unknown) => void;
}

/**
 * Opens a connection of its own to Redis, for every form of `REDIS_URL`. It reconnects by itself, for ever, with
 * growing pauses. A command rejects at once if there is no connection, or if it breaks before the answer: only the
 * caller knows whether it is safe to send the command again.
 * @param url as `parseRedisUrl` takes it
 * @param name shown by CLIENT LIST
 * @param timeoutMs a command that is not answered in this time rejects; Redis may still carry it out
 */
export function openRedis(url: string, name: string, events: RedisEvents, timeoutMs?: number): RedisClient {
  const target = parseRedisUrl(url);
  const { username, password } = target;
  const common = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(target.tls && { tls: {} }),
    ...(timeoutMs !== undefined && { commandTimeout: timeoutMs }),
    connectionName: name,
    connectTimeout: CONNECT_TIMEOUT_MS,
    keepAlive: KEEP_ALIVE_MS,
    socketTimeout: SILENCE_MS,
    autoResendUnfulfilledCommands: false,
    // Nobody could catch its rejection. Subscribers subscribe again each time the client is ready.
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    // Reconnects if the server became a replica, or is loading.
    reconnectOnError: error => /^(READONLY|LOADING|MASTERDOWN)/.test(error.message),
  } satisfies RedisOptions;
  const client = open();
  client.on('ready', events.ready);
  // Without an error, the other side closed the connection.
  client.on('close', () => events.lost(lastError ?? new Error('the connection was closed')));
  let lastError: unknown;
  let sentinelError: unknown;
  client.on('sentinelError', error => {
    sentinelError = error;
  });
  client.on('error', error => {
    // ioredis reports that no node gave the slots, or no sentinel the master. These errors say why.
    lastError = error.lastNodeError ?? sentinelError ?? error;
    // If no sentinel can be asked, no connection is closed.
    if (sentinelError !== undefined) events.lost(sentinelError);
    sentinelError = undefined;
  });
  client.on('connect', () => {
    lastError = undefined;
  });
  return client;

  function open(): RedisClient {
    if (target.kind === 'cluster') {
      return new Cluster([...target.hosts], {
        redisOptions: common,
        enableOfflineQueue: false,
        clusterRetryStrategy: pauseBefore,
        // If a connection breaks before the answer, the command may have been carried out: do not send it again.
        retryDelayOnFailover: 0,
        // Certificates contain names, so names must not become addresses before the check.
        ...(target.tls && { dnsLookup: (name, callback) => callback(null, name) }),
        scaleReads: 'master',
      });
    }
    const single = {
      ...common,
      db: target.db,
      enableOfflineQueue: false,
      retryStrategy: pauseBefore,
    } satisfies RedisOptions;
    if (target.kind === 'single') return new Redis({ ...single, ...target.hosts[0] });
    return new Redis({
      ...single,
      sentinels: [...target.hosts],
      ...(target.master !== undefined && { name: target.master }),
      sentinelRetryStrategy: pauseBefore,
      // If a sentinel hangs, the next one must be asked.
      sentinelCommandTimeout: SENTINEL_TIMEOUT_MS,
      ...(target.tls && { enableTLSForSentinelMode: true, sentinelTLS: {} }),
      ...(target.sentinelPassword !== undefined && { sentinelPassword: target.sentinelPassword }),
    });
  }
}

/** Resolves when a client can be used, or when the signal is aborted. */
export function untilReady(client: RedisClient, signal: AbortSignal): Promise<void> {
  if (client.status === 'ready' || signal.aborted) return Promise.resolve();
  return new Promise(resolve => {
    const done = () => {
      client.off('ready', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    client.on('ready', done);
    signal.addEventListener('abort', done);
  });
}

/** Milliseconds before the next attempt. They are random, since many may have lost the same server. */
function pauseBefore(attempt: number): number {
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** (attempt - 1), LONGEST_PAUSE_MS);
  return pause * (0.5 + Math.random() / 2);
}
