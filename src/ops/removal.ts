import { Router } from 'express';
import type { Publishers } from '../auth/keys.js';
import type { Connection } from '../core/connection.js';
import type { Postroom } from '../core/postroom.js';
import { connectionAddress, userAddress } from '../model/address.js';
import { CLOSE } from '../model/close.js';
import { methodNotAllowed } from './methods.js';

/**
 * How an operator shows somebody out (4503, "stay away"): one connection, or all of a user's. Answers how many
 * were removed.
 */
export function removalRouter(options: { postroom: Postroom; keys: Publishers }): Router {
  const { postroom, keys } = options;
  const router = Router();

  router
    .route('/connections/:id')
    .delete((request, response) => {
      keys.require(request.headers.authorization);
      response.json({ removed: remove(postroom.listeners(connectionAddress(request.params.id))) });
    })
    .all(methodNotAllowed('DELETE'));
  router
    .route('/users/:id/connections')
    .delete((request, response) => {
      keys.require(request.headers.authorization);
      response.json({ removed: remove(postroom.listeners(userAddress(request.params.id))) });
    })
    .all(methodNotAllowed('DELETE'));
  return router;

  function remove(connections: Connection[]): number {
    for (const connection of connections) postroom.close(connection, CLOSE.removed);
    return connections.length;
  }
}
