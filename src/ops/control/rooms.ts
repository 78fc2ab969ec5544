import { z } from 'zod';
import { question } from '../../cluster/question.js';
import type { Cluster } from '../../cluster/cluster.js';
import type { Inventory, RoomReport } from '../../core/inventory.js';
import { isRoomName } from '../../model/address.js';
import { mergePages } from '../../model/page.js';
import { pageOf, queryOf, roomOf } from './parameters.js';
import { partly } from './answers.js';
import type { Resource } from './resource.js';
import { PageForm, PageRequestForm } from './forms.js';

const Report = z.object({
  connections: z.number(),
  users: z.number(),
  names: z.array(z.string()).optional(),
});

/** The rooms that somebody is in, and what a room has. */
export function roomResource({ cluster, inventory }: { cluster: Cluster; inventory: Inventory }): Resource {
  const askRooms = question(
    cluster,
    'rooms',
    {
      question: z.object({ prefix: z.string(), page: PageRequestForm, withNames: z.boolean() }),
      answer: PageForm(Report),
    },
    ({ prefix, page, withNames }) => inventory.rooms(prefix, page, withNames),
  );
  const askRoom = question(
    cluster,
    'room',
    { question: z.object({ room: z.string(), withNames: z.boolean() }), answer: Report },
    ({ room, withNames }) => inventory.room(room, withNames),
  );
  // A user may be on several nodes, and counts once.
  const withNames = () => cluster.nodes().length > 1;
  return {
    '/rooms': {
      async get(request) {
        const { page, query } = pageOf(request, ['prefix'], isRoomName);
        const { prefix = '' } = query;
        const { answers, partial } = await askRooms({ prefix, page, withNames: withNames() });
        const { items, more } = mergePages(answers, page.limit, join);
        const rooms = items.map(([room, { connections, users }]) => ({ room, connections, users }));
        return { rooms, next: more ? (rooms.at(-1)?.room ?? null) : null, ...partly(partial) };
      },
    },
    '/rooms/:room': {
      async get(request) {
        const room = roomOf(request);
        queryOf(request, []);
        const { answers, partial } = await askRoom({ room, withNames: withNames() });
        const { connections, users } = answers.reduce(join, NOBODY);
        const newest = inventory.newestOf(room) ?? null;
        return { room, connections, users, newest, ...partly(partial) };
      },
    },
    '/newest': {
      get(request) {
        queryOf(request, []);
        return { id: inventory.cursor };
      },
    },
  };
}

const NOBODY: RoomReport = { connections: 0, users: 0 };

function join(a: RoomReport, b: RoomReport): RoomReport {
  const connections = a.connections + b.connections;
  if (a.names === undefined || b.names === undefined)
    return { connections, users: a.users + b.users, names: a.names ?? b.names };
  const names = [...new Set([...a.names, ...b.names])];
  return { connections, users: names.length, names };
}
