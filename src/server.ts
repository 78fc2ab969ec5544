import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { NO_AUTHENTICATION, PublisherKeys, type Publishers } from './auth/keys.js';
import { type Revocation, Revocations } from './auth/revocations.js';
import { RemoteKeys } from './auth/jwks.js';
import { Sessions } from './auth/sessions.js';
import { CLOCK_TOLERANCE_SECONDS, Tokens } from './auth/tokens.js';
import { Calls, type Every, Gateway, PostroomProtocol, TimerWheel } from './clients/index.js';
import { type Cluster, clusters } from './cluster/index.js';
import type { Config } from './config.js';
import { Postroom } from './core/postroom.js';
import { type ListenAddress, Listener } from './http/index.js';
import { type Journal, journals } from './journal/index.js';
import { userAddress } from './model/address.js';
import { type Caller, callerAddress } from './model/network-address.js';
import { type Clock, systemAfter, systemClock } from './model/clock.js';
import { notificationParser } from './model/notification.js';
import { waitBriefly } from './model/pause.js';
import { Patterns } from './model/pattern.js';
import { reasonOf } from './model/reason.js';
import { Refusals } from './model/refusals.js';
import { FairTurns, inTurns } from './model/turns.js';
import { type BackendReport, Control, createApp, type SourceReport } from './ops/index.js';
import { Parts } from './parts.js';
import { Intake, NotifyEndpoint, sources, WantedSource } from './sources/index.js';
import { DataDirectory, type Stores, storesOf } from './storage/index.js';
import { Webhooks } from './webhooks/index.js';

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
  const waysIn = waysInOf(base, core);
  const waysOut = waysOutOf(base, core, options.every);
  const { timers, gateway, asking } = waysOut;
  const { front, internal, socket } = listenersOf(base, core, waysIn, waysOut);
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

type Base = ReturnType<typeof baseOf>;
type Core = Awaited<ReturnType<typeof coreOf>>;
type WaysIn = ReturnType<typeof waysInOf>;
type WaysOut = ReturnType<typeof waysOutOf>;

/** Things that all parts need. */
function baseOf(
  config: Config,
  log: Logger,
  { version, clock = systemClock }: ServerOptions,
  stopping: AbortSignal,
) {
  const refusals = new Refusals(log, clock.now);
  const keys = new PublisherKeys(config.NOTIFY_KEYS, config.areKeysMadeUp);
  const isShared = config.JOURNAL === 'redis';
  const callerOf = ({ socket, headers }: Caller) =>
    callerAddress(socket.remoteAddress, String(headers['x-forwarded-for'] ?? ''), config.TRUST_PROXY);
  const failed = (error: unknown) => log.error({ err: error }, 'a connection could not be served');
  return { config, log, version, clock, stopping, refusals, keys, isShared, callerOf, failed };
}

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

/** What PHP hears; undefined if it wants to hear nothing. */
function webhooksOf(
  { config, log, version, clock, isShared }: Base,
  stores: Stores,
  cluster: Cluster,
): Webhooks | undefined {
  const { WEBHOOK_URL: url, WEBHOOK_SECRET: key } = config;
  if (url === undefined || key === undefined) return undefined;
  return new Webhooks({
    url,
    key,
    events: new Patterns(config.WEBHOOK_EVENTS),
    retentionSeconds: config.WEBHOOK_RETENTION_SECONDS,
    retentionBytes: config.WEBHOOK_RETENTION_BYTES,
    graceMs: config.PRESENCE_GRACE_SECONDS * 1000,
    stores,
    cluster,
    isShared,
    version,
    clock,
    after: systemAfter,
    refused: reason =>
      log.warn({ reason }, 'PHP did not take a webhook (WEBHOOK_URL); it is sent again until it does'),
    gaveUp: events => log.warn({ events }, 'webhook events were given up; nobody took them in time'),
    failed: error =>
      log.warn({ reason: reasonOf(error) }, 'a webhook event cannot be stored now; trying again'),
  });
}

/** The ways in for notifications. */
function waysInOf({ config, log, clock, refusals, keys, isShared, callerOf }: Base, { postroom }: Core) {
  const maxNotificationBytes = config.MAX_NOTIFICATION_BYTES;
  const parse = notificationParser({
    maxBytes: maxNotificationBytes,
    retentionSeconds: config.RETENTION_SECONDS,
    now: clock.now,
  });
  const endpointFor = (publishers: Publishers) =>
    new NotifyEndpoint({ postroom, parse, keys: publishers, maxNotificationBytes, callerOf, refusals, log });
  const settings = { ...config, sharedJournal: isShared };
  const intake = { postroom, parse, maxNotificationBytes, sharedJournal: isShared, now: clock.now, log };
  return {
    http: endpointFor(keys),
    socket: endpointFor(NO_AUTHENTICATION),
    wanted: sources
      .filter(row => row.isWanted(settings))
      .map(row => new WantedSource(row, settings, new Intake({ name: row.name, ...intake }))),
  };
}

/** Opens and serves connections. */
function waysOutOf(base: Base, { postroom, revocations, webhooks }: Core, every?: Every) {
  const { config, log, clock, refusals, callerOf, failed } = base;
  const timers = new TimerWheel(failed, every);
  const secrets = [config.JWT_SECRET, config.JWT_PREVIOUS_SECRET].filter(secret => secret !== undefined);
  const { JWT_JWKS_URL, AUTH_URL } = config;
  const { now } = clock;
  const remoteKeys =
    JWT_JWKS_URL === undefined
      ? undefined
      : new RemoteKeys({ url: JWT_JWKS_URL, now, after: systemAfter, log });
  const tokens = new Tokens(secrets, config.JWT_PUBLIC_KEY, now, config.MAX_TOKEN_SECONDS, remoteKeys);
  const sessions =
    AUTH_URL === undefined
      ? undefined
      : new Sessions({
          url: AUTH_URL,
          maxRequests: config.AUTH_MAX_REQUESTS,
          failed: reason => log.warn({ reason }, 'a session could not be asked for; clients get 503'),
          clock,
        });
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
  return { timers, gateway, sessions, calls, asking };
}

/** Clients' calls to PHP; undefined if PHP takes none. */
function callsOf({ config, version, clock, refusals }: Base): Calls | undefined {
  const { CALL_URL: url, WEBHOOK_SECRET: key } = config;
  if (url === undefined || key === undefined) return undefined;
  return new Calls({
    url,
    key,
    version,
    maxCalls: config.MAX_CALLS,
    timeoutSeconds: config.CALL_TIMEOUT_SECONDS,
    maxBytes: config.MAX_NOTIFICATION_BYTES,
    clock,
    after: systemAfter,
    // A client can make as many calls fail as it likes; they must not flood the log.
    failed: reason => refusals.refused('failed call', { reason }),
  });
}

/** An address that serves HTTP, and what it serves. */
interface Side {
  readonly address: ListenAddress;
  readonly notify: NotifyEndpoint | undefined;
  readonly keys: Publishers;
  readonly page: boolean;
  readonly gateway: Gateway | undefined;
}

function listenersOf(base: Base, core: Core, waysIn: WaysIn, waysOut: WaysOut) {
  const { config, keys } = base;
  const { gateway } = waysOut;
  const listen = (side: Side) => listenerOf(side, base, core, waysIn, waysOut);
  const inside = { page: false, gateway: undefined };
  return {
    front: listen({
      address: { host: config.HOST, port: config.PORT },
      notify: config.INTERNAL_ONLY ? undefined : waysIn.http,
      keys,
      page: config.development,
      gateway,
    }),
    internal:
      config.INTERNAL_PORT === undefined
        ? undefined
        : listen({
            address: { host: config.INTERNAL_HOST, port: config.INTERNAL_PORT },
            notify: waysIn.http,
            keys,
            ...inside,
          }),
    socket:
      config.NOTIFY_SOCKET === undefined
        ? undefined
        : listen({
            address: { path: config.NOTIFY_SOCKET },
            notify: waysIn.socket,
            keys: NO_AUTHENTICATION,
            ...inside,
          }),
  };
}

function listenerOf(
  { address, notify, keys, page, gateway }: Side,
  base: Base,
  core: Core,
  waysIn: WaysIn,
  waysOut: WaysOut,
): Listener {
  const { config, log, version, callerOf, refusals } = base;
  const { postroom, control } = core;
  return new Listener({
    address,
    requestTimeoutSeconds: config.REQUEST_TIMEOUT_SECONDS,
    maxConnections: config.MAX_HTTP_CONNECTIONS,
    log,
    notify: notify && ((request, response) => notify.handle(request, response)),
    app: createApp({
      postroom,
      keys,
      version,
      backend: () => backendReport(core, waysOut),
      sources: () => reportsOf(waysIn, postroom, config.NOTIFY_SOCKET !== undefined),
      detailed: notify !== undefined,
      page,
      callerOf,
      refusals,
      control: notify && control,
      log,
    }),
    upgrade: gateway && ((request, socket, head) => gateway.upgrade(request, socket, head)),
  });
}

function reportsOf({ http, socket, wanted }: WaysIn, { open }: Postroom, hasSocket: boolean) {
  const report = ({ taken, refused }: NotifyEndpoint) => ({ connected: open, taken, refused });
  const reports: Record<string, SourceReport> = { http: report(http) };
  if (hasSocket) reports['unix-socket'] = report(socket);
  for (const source of wanted) reports[source.name] = source.status();
  return reports;
}

/** How it goes with what is asked of the backend. */
function backendReport({ webhooks }: Core, { calls, sessions }: WaysOut): BackendReport {
  return {
    ...(webhooks && { webhooks: webhooks.status }),
    ...(calls && { calls: { running: calls.running, answered: calls.answered, failed: calls.failures } }),
    ...(sessions && {
      sessions: { running: sessions.running, waiting: sessions.waiting, failed: sessions.failures },
    }),
  };
}
