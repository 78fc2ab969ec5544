import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { type Revocation, Revocations } from './auth/revocations.js';
import { CLOCK_TOLERANCE_SECONDS, Tokens } from './auth/tokens.js';
import { backendReport, callsOf, remoteKeysOf, sessionsOf, webhooksOf } from './backend-parts.js';
import { type Base, baseOf } from './base.js';
import { type Every, Gateway, PostroomProtocol, TimerWheel } from './clients/index.js';
import { clusters } from './cluster/index.js';
import type { Config } from './config.js';
import { Postroom } from './core/postroom.js';
import { type Journal, journals } from './journal/index.js';
import { listenersOf } from './listeners.js';
import { userAddress } from './model/address.js';
import { type Clock, systemAfter } from './model/clock.js';
import { waitBriefly } from './model/pause.js';
import { Patterns } from './model/pattern.js';
import { reasonOf } from './model/reason.js';
import { FairTurns, inTurns } from './model/turns.js';
import { Control } from './ops/index.js';
import { Parts } from './parts.js';
import { DataDirectory, storesOf } from './storage/index.js';
import { reportsOf, waysInOf } from './ways-in.js';

// A start that is stopped ends by itself within seconds. If it hangs in the system, the stop does not wait for it.
const START_MS = 10_000;

// Of one connection, in bursts of twice as many, if the backend hears of them: each makes an event on the disk.
const MAX_JOINS_PER_SECOND = 50;

/** A whole Postroom in one object. */
export interface Server {
  /** Opens the journal and listens. Rejects with an error that says what to do. */
  start(): Promise<void>;
  /** Stops gracefully: accepts nothing new, finishes running work, closes connections one by one. Idempotent. */
  stop(): Promise<void>;
  /** Where it listens, after the start. */
  readonly url: string;
  /** Where the internal side listens, if it is separate. */
  readonly internalUrl: string | undefined;
  /** The Unix socket, if there is one: `unix:/run/postroom.sock`. */
  readonly socketUrl: string | undefined;
}

/** What a server is told beside its settings. */
export interface ServerOptions {
  readonly version: string;
  readonly clock?: Clock;
  /** The timer of heartbeats and token expiry. */
  readonly every?: Every;
}

/** Puts all parts together. */
export async function createServer(config: Config, log: Logger, options: ServerOptions): Promise<Server> {
  const stopping = new AbortController();
  const base = baseOf(config, log, options, stopping.signal);
  const core = await coreOf(base);
  const waysIn = waysInOf(base, core.postroom);
  const { timers, gateway, asked, asking } = waysOutOf(base, core, options.every);
  const { front, internal, socket } = listenersOf(base, {
    postroom: core.postroom,
    control: core.control,
    notify: waysIn,
    gateway,
    backend: () => backendReport(asked),
    sources: () => reportsOf(base, waysIn, core.postroom),
  });
  const parts = new Parts([
    { stop: () => core.journal.close() },
    { stop: () => core.stores.stop() },
    { stop: () => core.cluster.stop() },
    { stop: () => core.webhooks?.stop() },
    { stop: () => core.postroom.stop() },
    // Health answers until the last connection is closed, so a load balancer sees that the server drains.
    [front, internal, socket].filter(listener => listener !== undefined),
    { start: () => core.stores.start() },
    core.revocations,
    { start: () => core.postroom.start() },
    { start: () => core.webhooks?.start() },
    timers,
    asking,
    [{ stop: () => gateway.drain(config.DRAIN_SECONDS) }, ...waysIn.wanted],
  ]);

  let starting: Promise<void> | undefined;
  let stopped: Promise<void> | undefined;
  return {
    start() {
      starting ??= parts.start();
      return starting;
    },
    stop() {
      stopped ??= stop();
      return stopped;
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

  async function stop(): Promise<void> {
    stopping.abort();
    core.postroom.stopAccepting();
    // A part that is still opening cannot be closed. If the start fails, it closes everything itself.
    if (starting !== undefined) await waitBriefly(starting, START_MS);
    await parts.stop();
  }
}

type Core = Awaited<ReturnType<typeof coreOf>>;

async function coreOf(base: Base) {
  const { config, log, clock, stopping, isShared, failed } = base;
  const retention = { seconds: config.RETENTION_SECONDS, bytes: config.RETENTION_BYTES };
  const node = randomUUID();
  const redis = { redisUrl: config.REDIS_URL, redisPrefix: config.REDIS_PREFIX };
  const directory = new DataDirectory(config.DATA_DIR);
  const stores = await storesOf[config.JOURNAL]({ ...redis, directory, stopping, failed: storesFailed });
  const report = () => postroom.nodeReport;
  const cluster = await clusters[config.JOURNAL]({ ...redis, node, report, stopping, log });
  const open = journals[config.JOURNAL];
  const journal: Journal = await open({ ...redis, retention, directory, node, stopping, clock, log });
  const webhooks = webhooksOf(base, stores, cluster);
  const { MAX_BUFFERED_BYTES: maxBufferedBytes } = config;
  const postroom: Postroom = new Postroom({
    journal,
    cluster,
    retention,
    maxBufferedBytes,
    isShared,
    presence: {
      rooms: new Patterns(config.PRESENCE_ROOMS),
      graceMs: config.PRESENCE_GRACE_SECONDS * 1000,
      maxMembers: config.MAX_PRESENCE_MEMBERS,
    },
    occupancy: webhooks?.wants('room.occupied') || webhooks?.wants('room.vacated'),
    observers: webhooks && [webhooks.observer],
    stores,
    refused: problem =>
      log.error({ reason: problem.message }, 'a notification that was to be sent later was refused'),
    clock,
    after: systemAfter,
    failed,
  });
  webhooks?.follow(postroom);
  const revocations = new Revocations({
    open: () => stores.open<Revocation>('revocations'),
    isShared,
    lifetimeSeconds: config.MAX_TOKEN_SECONDS + CLOCK_TOLERANCE_SECONDS,
    now: clock.now,
    after: systemAfter,
    // Not `removed`: a client may have connected with a new token meanwhile. It comes back with that one.
    revoked: user =>
      void inTurns(postroom.listeners(userAddress(user)), each => postroom.close(each, 'token_expired')),
    failed: storesFailed,
  });
  const control = new Control({ cluster, postroom, revocations });
  return { cluster, journal, postroom, stores, revocations, control, webhooks };

  function storesFailed(error: unknown): void {
    log.warn({ reason: reasonOf(error) }, 'what is stored (revoked tokens) cannot be read now; trying again');
  }
}

/** Opens and serves connections. */
function waysOutOf(base: Base, { postroom, revocations, webhooks }: Core, every?: Every) {
  const { config, log, clock, refusals, callerOf, failed } = base;
  const timers = new TimerWheel(failed, every);
  const secrets = [config.JWT_SECRET, config.JWT_PREVIOUS_SECRET].filter(secret => secret !== undefined);
  const { now } = clock;
  const remoteKeys = remoteKeysOf(base);
  const tokens = new Tokens(secrets, config.JWT_PUBLIC_KEY, now, config.MAX_TOKEN_SECONDS, remoteKeys);
  const sessions = sessionsOf(base);
  const calls = callsOf(base);
  const shared = { postroom, timers, log };
  const protocol = new PostroomProtocol(
    {
      ...shared,
      turns: new FairTurns(),
      messages: {
        postroom,
        calls,
        tell: webhooks?.wants('message')
          ? message => webhooks.tell({ type: 'message', ...message })
          : undefined,
        elapsed: clock.elapsed,
        settings: {
          maxPerSecond: config.MAX_CLIENT_MESSAGES_PER_SECOND,
          maxNotificationBytes: config.MAX_NOTIFICATION_BYTES,
          retentionSeconds: config.RETENTION_SECONDS,
        },
      },
      settings: {
        maxBufferedBytes: config.MAX_BUFFERED_BYTES,
        pingSeconds: config.PING_SECONDS,
        maxJoinsPerSecond: webhooks?.wantsJoins ? MAX_JOINS_PER_SECOND : undefined,
      },
    },
    { maxFrameBytes: config.MAX_FRAME_BYTES },
  );
  const gateway = new Gateway(
    {
      ...shared,
      tokens,
      sessions,
      revocations,
      refusals,
      callerOf,
      now,
      settings: {
        publicRooms: new Patterns(config.PUBLIC_ROOMS),
        maxRoomsPerConnection: config.MAX_ROOMS_PER_CONNECTION,
        maxConnectionsPerUser: config.MAX_CONNECTIONS_PER_USER,
        sessionSeconds: config.AUTH_REFRESH_SECONDS,
      },
    },
    [protocol],
    { allowedOrigins: new Patterns(config.ALLOWED_ORIGINS), maxConnections: config.MAX_CONNECTIONS },
  );
  const asking = [remoteKeys, sessions, calls].filter(part => part !== undefined);
  return { timers, gateway, asked: { webhooks, calls, sessions }, asking };
}
