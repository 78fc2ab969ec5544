import { Router } from 'express';
import type { Publishers } from '../auth/keys.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Postroom } from '../core/postroom.js';
import { type Address, connectionAddress, userAddress } from '../model/address.js';
import { inTurns } from '../model/turns.js';
import { methodNotAllowed } from './methods.js';

const TOPIC = 'remove';
// If a node does not answer in this time, the answer is partial.
const ANSWER_MS = 500;

/**
 * Lets an operator remove one connection, or all connections of a user, on all nodes (4503, "stay away"). Answers with
 * the number of removed connections.
 */
export function disconnectRouter(options: { cluster: Cluster; keys: Publishers }): Router {
  const { cluster, keys } = options;
  const router = Router();

  router
    .route('/connections/:id')
    .delete(async (request, response) => {
      keys.require(request.headers.authorization);
      response.json(await remove(connectionAddress(request.params.id)));
    })
    .all(methodNotAllowed('DELETE'));
  router
    .route('/users/:id/connections')
    .delete(async (request, response) => {
      keys.require(request.headers.authorization);
      response.json(await remove(userAddress(request.params.id)));
    })
    .all(methodNotAllowed('DELETE'));
  return router;

  async function remove(address: Address): Promise<{ removed: number; partial?: true }> {
    const { answers, partial } = await cluster.ask(TOPIC, address, ANSWER_MS);
    const removed = answers.reduce((sum, answer) => sum + Number(answer), 0);
    return partial ? { removed, partial } : { removed };
  }
}

/** Removes connections of this node if any node is asked to. */
export function handleDisconnects(cluster: Cluster, postroom: Postroom): void {
  cluster.handle(TOPIC, async address => {
    const connections = postroom.listeners(address as Address);
    await inTurns(connections, connection => postroom.close(connection, 'removed'));
    return String(connections.length);
  });
}
