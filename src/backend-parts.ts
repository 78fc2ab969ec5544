import { RemoteKeys } from './auth/jwks.js';
import { Sessions } from './auth/sessions.js';
import type { Base } from './base.js';
import { Calls } from './clients/index.js';
import type { Cluster } from './cluster/index.js';
import { systemAfter } from './model/clock.js';
import { Patterns } from './model/pattern.js';
import { reasonOf } from './model/reason.js';
import type { BackendReport } from './ops/index.js';
import type { Stores } from './storage/index.js';
import { Webhooks } from './webhooks/index.js';

/** What is asked of the backend; undefined if it is not wanted. */
export interface Asked {
  readonly webhooks: Webhooks | undefined;
  readonly calls: Calls | undefined;
  readonly sessions: Sessions | undefined;
}

/** What PHP hears; undefined if it wants to hear nothing. */
export function webhooksOf(
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
    rooms: new Patterns(config.WEBHOOK_ROOMS),
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

/** Clients' calls to PHP; undefined if PHP takes none. */
export function callsOf({ config, version, clock, refusals }: Base): Calls | undefined {
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

/** The public keys of tokens that the backend serves; undefined if it serves none. */
export function remoteKeysOf({ config, log, clock }: Base): RemoteKeys | undefined {
  const { JWT_JWKS_URL: url } = config;
  if (url === undefined) return undefined;
  return new RemoteKeys({ url, now: clock.now, after: systemAfter, log });
}

/** Asks PHP who a client with cookies is; undefined if only tokens count. */
export function sessionsOf({ config, log, clock }: Base): Sessions | undefined {
  const { AUTH_URL: url } = config;
  if (url === undefined) return undefined;
  return new Sessions({
    url,
    maxRequests: config.AUTH_MAX_REQUESTS,
    failed: reason => log.warn({ reason }, 'a session could not be asked for; clients get 503'),
    clock,
  });
}

/** How it goes with what is asked of the backend. */
export function backendReport({ webhooks, calls, sessions }: Asked): BackendReport {
  return {
    ...(webhooks && { webhooks: webhooks.status }),
    ...(calls && { calls: { running: calls.running, answered: calls.answered, failed: calls.failures } }),
    ...(sessions && {
      sessions: { running: sessions.running, waiting: sessions.waiting, failed: sessions.failures },
    }),
  };
}
