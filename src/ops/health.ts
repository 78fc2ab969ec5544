import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type Response, Router } from 'express';
import type { Publishers } from '../auth/keys.js';
import type { Postroom } from '../core/postroom.js';
import type { Refusals } from '../model/refusals.js';
import { methodNotAllowed } from './methods.js';

const NANOSECONDS_PER_MS = 1e6;
const SAMPLING_MS = 10;
const RETRY_AFTER_SECONDS = '1';

/** The state of one source. */
export interface SourceReport {
  readonly connected: boolean;
  /** Notifications taken and refused since start. */
  readonly taken: number;
  readonly refused: number;
  /** Messages that wait at the broker, and messages that were dropped for lack of room; if that is known. */
  readonly lag?: number | undefined;
  readonly dropped?: number | undefined;
  /** The last error: of the broker, the journal or a message. */
  readonly lastError?: { readonly at: string; readonly reason: string } | undefined;
}

/** What this server asks of the backend, and how that goes. Parts that are not set up are missing. */
export interface BackendReport {
  /** `lastError` is present if the last request was not taken. */
  readonly webhooks?: { readonly lastError?: { readonly at: string; readonly reason: string } };
  readonly calls?: { readonly running: number; readonly answered: number; readonly failed: number };
  readonly sessions?: { readonly running: number; readonly waiting: number; readonly failed: number };
}

export interface HealthOptions {
  readonly postroom: Postroom;
  readonly keys: Publishers;
  readonly version: string;
  readonly sources: () => Record<string, SourceReport>;
  readonly backend: () => BackendReport;
  readonly refusals: Refusals;
  /** Whether callers with a key get the detailed report here. */
  readonly detailed: boolean;
}

/** `/health/live` and `/health/ready` for load balancers; `/health` for anyone, and for operators with a key. */
export function healthRouter(options: HealthOptions): Router {
  const { postroom, keys } = options;
  const loopDelay = monitorEventLoopDelay({ resolution: SAMPLING_MS });
  if (options.detailed) loopDelay.enable();
  const router = Router();

  router
    .route('/health/live')
    .get((_request, response) => answer(response, 200, { status: 'ok' }))
    .all(methodNotAllowed('GET, HEAD'));
  router
    .route('/health/ready')
    .get((_request, response) => {
      if (postroom.ready) return answer(response, 200, { status: 'ok' });
      response.setHeader('Retry-After', RETRY_AFTER_SECONDS);
      return answer(response, 503, { status: postroom.status });
    })
    .all(methodNotAllowed('GET, HEAD'));
  router
    .route('/health')
    .get((request, response) => {
      const status = overall();
      const mayKnow = options.detailed && keys.check(request.headers.authorization);
      answer(response, 200, mayKnow ? { status, ...report() } : { status });
    })
    .all(methodNotAllowed('GET, HEAD'));
  return router;

  /** A source that is down does not make the server unready: the others go on, and messages wait at the broker. */
  function overall(): string {
    const { status } = postroom;
    if (status !== 'ok') return status;
    const areTaken = options.backend().webhooks?.lastError === undefined;
    return areTaken && Object.values(options.sources()).every(source => source.connected) ? 'ok' : 'degraded';
  }

  function report(): object {
    const memory = process.memoryUsage();
    return {
      version: options.version,
      uptimeSeconds: Math.round(process.uptime()),
      ...postroom.stats,
      sources: options.sources(),
      ...options.backend(),
      refusals: options.refusals.counts,
      eventLoopDelayMs: {
        mean: delay(loopDelay.mean),
        p99: delay(loopDelay.percentile(99)),
        max: delay(loopDelay.max),
      },
      memoryBytes: { rss: memory.rss, heapUsed: memory.heapUsed, external: memory.external },
    };
  }
}

function answer(response: Response, status: number, body: object): void {
  response.status(status).set('Cache-Control', 'no-store').json(body);
}

/** How late a turn was, in milliseconds. The histogram also counts the sampling interval. */
function delay(nanoseconds: number): number {
  if (Number.isNaN(nanoseconds)) return 0; // no sample yet
  return Math.max(0, Math.round((nanoseconds / NANOSECONDS_PER_MS - SAMPLING_MS) * 100) / 100);
}
