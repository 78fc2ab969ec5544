import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { EVERYBODY, PublisherKeys, type Publishers } from './auth/keys.js';
import { Tokens } from './auth/tokens.js';
import { type Caller, Door, type Every, Timetable } from './clients/index.js';
import { clusters } from './cluster/index.js';
import type { Config } from './config.js';
import { Postroom } from './core/postroom.js';
import { Listener, type Place } from './http/index.js';
import { type Journal, journals } from './journal/index.js';
import { callerAddress } from './model/caller.js';
import { type Clock, systemClock } from './model/clock.js';
import { notificationParser } from './model/notification.js';
import { Patterns } from './model/pattern.js';
import { Refusals } from './model/refusals.js';
import { FairTurns } from './model/turns.js';
import { waitBriefly } from './model/pause.js';
import { createApp, handleRemovals, type SourceReport } from './ops/index.js';
import { Intake, NotifyEndpoint, type Source, sources } from './sources/index.js';
import { DataDirectory } from './storage/directory.js';

const SOURCE_STOP_MS = 5000;

/** A whole Postroom in one object. */
export interface Server {
  /** Opens the journal and listens. Rejects with a sentence that says what to do. */
  start(): Promise<void>;
  /** Stops gracefully: nothing new comes in, what is under way finishes, connections are closed one by one. Idempotent. */
  stop(): Promise<void>;
  /** Where it listens, once started. */
  readonly url: string;
  /** Where the internal side listens, if that is apart. */
  readonly internalUrl: string | undefined;
  /** Where the Unix socket is, if there is one: `unix:/run/postroom.sock`. */
  readonly socketUrl: string | undefined;
}

/**
 * Puts the parts together; the one place that names them all.
 * @param options `every`: the timer of heartbeats and token expiry
 */
export async function createServer(
  config: Config,
  log: Logger,
  options: { version: string; clock?: Clock; every?: Every },
): Promise<Server> {
  const { version, clock = systemClock, every } = options;
  const { now } = clock;
  const isShared = config.JOURNAL === 'redis';
  const settings = { ...config, sharedJournal: isShared };
  const retention = { seconds: config.RETENTION_SECONDS, bytes: config.RETENTION_BYTES };
  const toldToStop = new AbortController();
  const node = randomUUID();
  const cluster = await clusters[config.JOURNAL]({
    redisUrl: config.REDIS_URL,
    redisPrefix: config.REDIS_PREFIX,
    node,
    report: () => postroom.nodeReport,
    stopping: toldToStop.signal,
    log,
  });
  const journal: Journal = await journals[config.JOURNAL]({
    retention,
    directory: new DataDirectory(config.DATA_DIR),
    redisUrl: config.REDIS_URL,
    redisPrefix: config.REDIS_PREFIX,
    node,
    stopping: toldToStop.signal,
    clock,
    log,
  });
  const failed = (error: unknown) => log.error({ err: error }, 'a connection could not be served');
  const postroom: Postroom = new Postroom({
    journal,
    cluster,
    retention,
    maxBufferedBytes: config.MAX_BUFFERED_BYTES,
    isShared,
    failed,
  });

  handleRemovals(cluster, postroom);
  const refusals = new Refusals(log, now);
  const keys = new PublisherKeys(config.NOTIFY_KEYS);
  const callerOf = ({ socket, headers }: Caller) =>
    callerAddress(socket.remoteAddress, String(headers['x-forwarded-for'] ?? ''), config.TRUST_PROXY);
  const parse = notificationParser({
    maxBytes: config.MAX_NOTIFICATION_BYTES,
    retentionSeconds: config.RETENTION_SECONDS,
  });
  const maxNotificationBytes = config.MAX_NOTIFICATION_BYTES;
  const endpointFor = (publishers: Publishers) =>
    new NotifyEndpoint({ postroom, parse, keys: publishers, maxNotificationBytes, callerOf, refusals, log });
  const overHttp = endpointFor(keys);
  const overSocket = endpointFor(EVERYBODY);
  const wanted: WantedSource[] = sources
    .filter(row => row.isWanted(settings))
    .map(row => ({
      row,
      intake: new Intake({
        name: row.name,
        postroom,
        parse,
        maxNotificationBytes,
        sharedJournal: isShared,
        now,
        log,
      }),
      source: undefined,
    }));

  const timetable = new Timetable(failed, every);
  const secrets = [config.JWT_SECRET, config.JWT_PREVIOUS_SECRET].filter(secret => secret !== undefined);
  const door = new Door(
    {
      postroom,
      tokens: new Tokens(secrets, config.JWT_PUBLIC_KEY, now),
      timetable,
      turns: new FairTurns(),
      log,
      refusals,
      now,
      settings: {
        publicRooms: new Patterns(config.PUBLIC_ROOMS),
        maxRoomsPerConnection: config.MAX_ROOMS_PER_CONNECTION,
        maxConnectionsPerUser: config.MAX_CONNECTIONS_PER_USER,
        maxBufferedBytes: config.MAX_BUFFERED_BYTES,
        pingSeconds: config.PING_SECONDS,
      },
    },
    {
      allowedOrigins: new Patterns(config.ALLOWED_ORIGINS),
      maxConnections: config.MAX_CONNECTIONS,
      maxFrameBytes: config.MAX_FRAME_BYTES,
      callerOf,
    },
  );

  const reports = (): Record<string, SourceReport> => ({
    http: { connected: postroom.open, taken: overHttp.taken, refused: overHttp.refused },
    ...(config.NOTIFY_SOCKET !== undefined && {
      'unix-socket': { connected: postroom.open, taken: overSocket.taken, refused: overSocket.refused },
    }),
    ...Object.fromEntries(wanted.map(each => [each.row.name, reportOf(each)])),
  });

  const listener = (side: {
    place: Place;
    notify: NotifyEndpoint | undefined;
    publishers: Publishers;
    page: boolean;
    upgrades: boolean;
  }) =>
    new Listener({
      place: side.place,
      requestTimeoutSeconds: config.REQUEST_TIMEOUT_SECONDS,
      maxConnections: config.MAX_HTTP_CONNECTIONS,
      log,
      notify: side.notify && ((request, response) => side.notify?.handle(request, response)),
      app: createApp({
        postroom,
        keys: side.publishers,
        version,
        sources: reports,
        detailed: side.notify !== undefined,
        page: side.page,
        callerOf,
        refusals,
        cluster,
        log,
      }),
      upgrade: side.upgrades ? (request, socket, head) => door.upgrade(request, socket, head) : undefined,
    });
  const front = listener({
    place: { host: config.HOST, port: config.PORT },
    notify: config.INTERNAL_ONLY ? undefined : overHttp,
    publishers: keys,
    page: config.development,
    upgrades: true,
  });
  const inside = { page: false, upgrades: false };
  const internal =
    config.INTERNAL_PORT === undefined
      ? undefined
      : listener({
          place: { host: config.INTERNAL_HOST, port: config.INTERNAL_PORT },
          notify: overHttp,
          publishers: keys,
          ...inside,
        });
  const socket =
    config.NOTIFY_SOCKET === undefined
      ? undefined
      : listener({
          place: { path: config.NOTIFY_SOCKET },
          notify: overSocket,
          publishers: EVERYBODY,
          ...inside,
        });

  let starting: Promise<void> | undefined;
  let stopping: Promise<void> | undefined;
  return {
    start() {
      starting ??= start();
      return starting;
    },
    stop() {
      stopping ??= stop();
      return stopping;
    },
    get url() {
      return front.url;
    },
    get internalUrl() {
      return internal?.url;
    },
    get socketUrl() {
      return socket?.url;
    },
  };

  async function start(): Promise<void> {
    try {
      await front.start();
      await internal?.start();
      await socket?.start();
      await postroom.start();
      timetable.start();
      for (const each of wanted) {
        each.source = await each.row.open(settings, each.intake);
        each.source.start();
      }
    } catch (error) {
      await close();
      throw error;
    }
  }

  async function stop(): Promise<void> {
    toldToStop.abort();
    postroom.stopAccepting();
    // What is half open cannot be closed; a start that failed has closed everything.
    await starting?.catch(() => undefined);
    await Promise.all([door.drain(config.DRAIN_SECONDS), stopSources()]);
    await close();
  }

  async function stopSources(): Promise<void> {
    // One whose broker hangs is left after that: what it holds is not acknowledged.
    await Promise.all(wanted.map(({ source }) => source && waitBriefly(source.stop(), SOURCE_STOP_MS)));
  }

  async function close(): Promise<void> {
    timetable.stop();
    await stopSources();
    // Health answers until the last connection is gone, so that a load balancer sees the draining.
    await Promise.all([front.stop(), internal?.stop(), socket?.stop()]);
    await postroom.stop();
    await cluster.stop();
    await journal.close();
  }
}

/** A source, from the moment that it is known to be wanted. */
interface WantedSource {
  readonly row: (typeof sources)[number];
  readonly intake: Intake;
  source: Source | undefined;
}

function reportOf({ intake, source }: WantedSource): SourceReport {
  const { taken, refused, lastError } = intake;
  return {
    connected: false,
    ...source?.status(),
    taken,
    refused,
    lastError: lastError && { at: new Date(lastError.at).toISOString(), reason: lastError.reason },
  };
}
