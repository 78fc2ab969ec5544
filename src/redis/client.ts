import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { parseRedisUrl } from './url.js';

export type RedisClient = Redis | Cluster;

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;
const CONNECT_TIMEOUT_MS = 5000;
const KEEP_ALIVE_MS = 10_000;
// Without an answer for so long the connection is given up; a blocking read must be shorter.
const SILENCE_MS = 5000;
const SENTINEL_TIMEOUT_MS = 1000;

/** What a client tells of itself. */
export interface RedisEvents {
  /** It can be used, for the first time or again. */
  readonly ready: () => void;
  /** It has no connection; it tries again by itself. Told for every attempt that fails, with why. */
  readonly lost: (error: unknown) => void;
}

/**
 * A connection to Redis of its own, in whichever of the forms of `REDIS_URL`. It comes back by itself, for ever, with
 * growing pauses. A command without a connection, or whose connection breaks before the answer, rejects at once:
 * whether to say it again is for those to decide who know whether that is safe.
 * @param url as `parseRedisUrl` takes it
 * @param name shown by CLIENT LIST
 * @param timeoutMs a command that is not answered by then rejects; it may still be carried out
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
    // Its promise nobody could catch; who subscribes does so whenever it is ready.
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    // A server that became a replica, or is loading: the connection is made anew.
    reconnectOnError: error => /^(READONLY|LOADING|MASTERDOWN)/.test(error.message),
  } satisfies RedisOptions;
  const client = open();
  client.on('ready', events.ready);
  // Without an error the connection was closed by the other side.
  client.on('close', () => events.lost(lastError ?? new Error('the connection was closed')));
  let lastError: unknown;
  let sentinelError: unknown;
  client.on('sentinelError', error => {
    sentinelError = error;
  });
  client.on('error', error => {
    // That no node told the slots, or no sentinel the master, says nothing of why.
    lastError = error.lastNodeError ?? sentinelError ?? error;
    // Where sentinels are asked in vain no connection is closed.
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
        // What broke before its answer may have been carried out: it is not said again.
        retryDelayOnFailover: 0,
        // Certificates have names in them, which must not become addresses before they are checked.
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
      // A sentinel that hangs must not keep us from the next one.
      sentinelCommandTimeout: SENTINEL_TIMEOUT_MS,
      ...(target.tls && { enableTLSForSentinelMode: true, sentinelTLS: {} }),
      ...(target.sentinelPassword !== undefined && { sentinelPassword: target.sentinelPassword }),
    });
  }
}

/** Resolves when a client can be used, or when it no longer matters. */
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

/** Milliseconds before the next attempt; with jitter, since many may have lost the same server. */
function pauseBefore(attempt: number): number {
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** (attempt - 1), LONGEST_PAUSE_MS);
  return pause * (0.5 + Math.random() / 2);
}
