import type { Request } from 'express';
import { z } from 'zod';
import { question } from '../../cluster/question.js';
import type { Cluster } from '../../cluster/cluster.js';
import { type Inventory, MAX_ROOMS } from '../../core/inventory.js';
import { queryOf, userOf, usersIn } from './parameters.js';
import { partly, sum } from './answers.js';
import type { Resource } from './resource.js';

const MAX_USERS = 1000;
const Report = z.object({ connections: z.number(), rooms: z.array(z.string()) });

/** Whether users are there, and where. */
export function userResource({ cluster, inventory }: { cluster: Cluster; inventory: Inventory }): Resource {
  const askUser = question(cluster, 'user', { question: z.string(), answer: Report }, user =>
    inventory.user(user),
  );
  const askOnline = question(
    cluster,
    'online',
    { question: z.array(z.string()), answer: z.array(z.number()) },
    users => inventory.connectionsOf(users),
  );

  async function reportOf(user: string, request: Request) {
    queryOf(request, []);
    const { answers, partial } = await askUser(user);
    const rooms = [...new Set(answers.flatMap(answer => answer.rooms))].sort().slice(0, MAX_ROOMS);
    return { user, connections: sum(answers.map(answer => answer.connections)), rooms, ...partly(partial) };
  }

  return {
    '/users/online': {
      // A user may have this name.
      get: request => reportOf('online', request),
      async post(request) {
        queryOf(request, []);
        const users = await usersIn(request, MAX_USERS);
        const { answers, partial } = await askOnline(users);
        const online = users.map((user, index) => [user, sum(answers.map(counts => counts[index] ?? 0))]);
        return { online: Object.fromEntries(online), ...partly(partial) };
      },
    },
    '/users/:user': { get: request => reportOf(userOf(request), request) },
  };
}
