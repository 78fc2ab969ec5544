import type { Request } from 'express';
import { z } from 'zod';
import { question } from '../../cluster/question.js';
import type { Cluster } from '../../cluster/cluster.js';
import type { Postroom } from '../../core/postroom.js';
import { type Address, connectionAddress, userAddress } from '../../model/address.js';
import { inTurns } from '../../model/turns.js';
import { connectionOf, queryOf, roomOf, unknownConnection, userOf } from './parameters.js';
import { partly, sum } from './answers.js';
import type { Resource } from './resource.js';

const Assignment = z.object({ address: z.string(), room: z.string(), isIn: z.boolean() });

/** Puts connections into a room, or takes them out of it, whatever their tokens say. */
export function assignmentResource({
  cluster,
  postroom,
}: {
  cluster: Cluster;
  postroom: Postroom;
}): Resource {
  const assign = question(
    cluster,
    'assign',
    { question: Assignment, answer: z.number() },
    async ({ address, room, isIn }) => {
      const connections = postroom.listeners(address as Address);
      await inTurns(connections, connection => {
        if (isIn) postroom.assign(connection, room);
        else postroom.unassign(connection, room);
      });
      return connections.length;
    },
  );

  async function answer(request: Request, address: Address, isIn: boolean) {
    const room = roomOf(request);
    queryOf(request, []);
    const { answers, partial } = await assign({ address, room, isIn });
    return { connections: sum(answers), ...partly(partial) };
  }

  function ofUser(isIn: boolean) {
    return (request: Request) => answer(request, userAddress(userOf(request)), isIn);
  }

  function ofConnection(isIn: boolean) {
    return async (request: Request) => {
      const id = connectionOf(request);
      const answered = await answer(request, connectionAddress(id), isIn);
      // It may be on a node that did not answer.
      if (answered.connections === 0 && !answered.partial) throw unknownConnection(id);
      return answered;
    };
  }

  return {
    '/users/:user/rooms/:room': { put: ofUser(true), delete: ofUser(false) },
    '/connections/:connection/rooms/:room': { put: ofConnection(true), delete: ofConnection(false) },
  };
}
