import { type Request, Router } from 'express';
import type { Publishers } from '../../auth/keys.js';
import { unavailable } from '../../model/problem.js';
import { methodNotAllowed } from '../methods.js';

const RETRY_AFTER_SECONDS = 1;

/** Answers a request that has a right key: with an object or a JSON text, or it throws a Problem. */
export type Answer = (request: Request) => Promise<object | string> | object | string;

export type Method = 'get' | 'post' | 'put' | 'delete';

/** Paths, each with its methods. */
export type Resource = Readonly<Record<string, Partial<Record<Method, Answer>>>>;

/** Serves resources to callers with a key. While the server is starting, the answer is 503. */
export function resourceRouter(
  resources: readonly Resource[],
  keys: Publishers,
  isStarting: () => boolean,
): Router {
  // Users and rooms may differ only in the case of their letters. Many clients make `/connections/1.1/` of the path
  // `/connections/1.1/rooms/..`: it must not be taken for the connection.
  const router = Router({ caseSensitive: true, strict: true });
  const paths = new Map<string, Resource[string]>();
  for (const [path, methods] of resources.flatMap(resource => Object.entries(resource)))
    paths.set(path, { ...paths.get(path), ...methods });
  for (const [path, methods] of paths) {
    const route = router.route(path);
    for (const [method, answer] of Object.entries(methods))
      route[method as Method](async (request, response) => {
        keys.require(request.headers.authorization);
        // Nobody is known yet, and PHP must not take that for an answer.
        if (isStarting()) throw unavailable('This server is starting; try again.', RETRY_AFTER_SECONDS);
        const body = await answer(request);
        const json = typeof body === 'string' ? body : JSON.stringify(body);
        response.writeHead(200, {
          'Content-Type': 'application/json; charset=utf-8',
          'Content-Length': Buffer.byteLength(json),
          'Cache-Control': 'no-store',
          'X-Content-Type-Options': 'nosniff',
        });
        response.end(json);
      });
    const allowed = Object.keys(methods).map(method => method.toUpperCase());
    route.all(
      methodNotAllowed(allowed.flatMap(name => (name === 'GET' ? ['GET', 'HEAD'] : name)).join(', ')),
    );
  }
  return router;
}
