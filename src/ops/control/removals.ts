import type { Request } from 'express';
import { z } from 'zod';
import type { Revocations } from '../../auth/revocations.js';
import { type Ask, question } from '../../cluster/question.js';
import type { Cluster } from '../../cluster/cluster.js';
import type { Postroom } from '../../core/postroom.js';
import { type Address, connectionAddress, roomAddress, userAddress } from '../../model/address.js';
import { unavailable } from '../../model/problem.js';
import { inTurns } from '../../model/turns.js';
import { queryOf, roomOf, userOf } from './parameters.js';
import { partly, sum } from './answers.js';
import type { Resource } from './resource.js';

const RETRY_AFTER_SECONDS = 1;
const Revocation = z.object({ user: z.string(), before: z.number() });

/** Closes connections, and revokes tokens. */
export function removalResource({
  cluster,
  postroom,
  revocations,
}: {
  cluster: Cluster;
  postroom: Postroom;
  revocations: Revocations;
}): Resource {
  const remove = question(cluster, 'remove', { question: z.string(), answer: z.number() }, close);
  const revoke = question(cluster, 'revoke', { question: Revocation, answer: z.number() }, revocation => {
    revocations.learn(revocation);
    return close(userAddress(revocation.user));
  });

  /** Closes the connections of this node. Returns how many. */
  async function close(address: string): Promise<number> {
    const connections = postroom.listeners(address as Address);
    await inTurns(connections, connection => postroom.close(connection, 'removed'));
    return connections.length;
  }

  function removing(addressOf: (request: Request) => Address) {
    return async (request: Request) => {
      queryOf(request, []);
      return removed(remove, addressOf(request));
    };
  }

  return {
    '/connections/:connection': {
      delete: removing(({ params }) => connectionAddress(String(params.connection))),
    },
    '/users/:user/connections': { delete: removing(request => userAddress(userOf(request))) },
    '/rooms/:room/connections': { delete: removing(request => roomAddress(roomOf(request))) },
    '/users/:user/revoke': {
      async post(request) {
        const user = userOf(request);
        queryOf(request, []);
        const revocation = await revocations.revoke(user).catch(error => {
          throw unavailable('The revocation cannot be stored now; try again.', RETRY_AFTER_SECONDS, error);
        });
        return removed(revoke, revocation);
      },
    },
  };
}

async function removed<Q>(ask: Ask<Q, number>, about: Q) {
  const { answers, partial } = await ask(about);
  return { removed: sum(answers), ...partly(partial) };
}
