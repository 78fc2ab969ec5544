import type { RequestHandler } from 'express';
import { Problem } from '../model/problem.js';

/** The last handler of a route: refuses any other method. */
export function methodNotAllowed(allowed: string): RequestHandler {
  return request => {
    throw new Problem('method_not_allowed', `${request.path} takes ${allowed}, not ${request.method}.`, {
      headers: { Allow: allowed },
    });
  };
}
