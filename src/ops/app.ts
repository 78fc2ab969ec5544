import type { IncomingMessage } from 'node:http';
import express, { type ErrorRequestHandler, type Express, type Request } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import { sendProblem } from '../http/problem.js';
import { internalProblem, Problem } from '../model/problem.js';
import { clientScriptRouter } from './client-script.js';
import type { Control } from './control/control.js';
import { type HealthOptions, healthRouter } from './health.js';
import { pageRouter } from './page.js';

export interface AppOptions extends HealthOptions {
  /** Whether `GET /` shows the test page. */
  readonly page: boolean;
  /** The network address that a request came from. */
  readonly callerOf: (request: IncomingMessage) => string;
  /** The control API, if it is here. */
  readonly control: Control | undefined;
  readonly log: Logger;
}

/** Answers all HTTP requests except those to `/notify`: Express with helmet. */
export function createApp(options: AppOptions): Express {
  const app = express();
  // Before helmet: its headers are for pages, and backends ask often.
  if (options.control !== undefined) app.use(options.control.router(options.keys));
  app.use(helmet());
  app.use(healthRouter(options));
  app.use(clientScriptRouter());
  if (options.page) app.use(pageRouter());
  app.use(request => {
    throw new Problem('not_found', `There is nothing at ${request.path}; ${hint(request)}`);
  });
  app.use(problemHandler(options));
  return app;
}

function hint({ method, path }: Request): string {
  if (path === '/notify') return 'backends POST to /notify on the internal side (INTERNAL_PORT).';
  if (path.startsWith('/notify')) return 'did you mean /notify?';
  if (method === 'GET' && (path === '/' || path === '/ws'))
    return (
      'browsers open a WebSocket there: new WebSocket("ws://…/ws"). If that is what you did, a proxy has taken the ' +
      'Upgrade header away; in nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; ' +
      'proxy_set_header Connection "upgrade"; The page to try it is there in development only (NODE_ENV).'
    );
  return 'backends POST to /notify and ask at /rooms, /users and /connections, browsers open a WebSocket at /ws, health is at /health.';
}

function problemHandler({ log, refusals, callerOf }: AppOptions): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    if (response.headersSent) return next(error);
    const problem = asProblem(error);
    const address = callerOf(request);
    if (problem.code === 'unauthorized') refusals.refused('wrong key', { path: request.path, address });
    if (problem.code === 'not_found') refusals.refused('unknown path', { path: request.path, address });
    if (problem.code === 'internal') log.error({ err: error, path: request.path }, 'a request failed');
    sendProblem(response, problem);
  };
}

function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  // Express throws it for a path that cannot be decoded.
  if (error instanceof Error && 'status' in error && error.status === 400)
    return new Problem('invalid_request', 'The path is not properly percent-encoded.');
  return internalProblem(error);
}
