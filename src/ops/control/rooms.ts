import { z } from 'zod';
import type { Cluster } from '../../cluster/cluster.js';
import type { Inventory, RoomReport } from '../../core/inventory.js';
import { isRoomName } from '../../model/address.js';
import { mergePages } from '../../model/page.js';
import { pageOf, queryOf, roomOf } from './parameters.js';
import { partly, question } from './question.js';
import type { Resource } from './resource.js';
import { PageForm, PageRequestForm } from './forms.js';

const Report = z.object({ connections: z.number(), users: z.array(z.string()) });

/** The rooms that somebody is in, and what a room has. */
export function roomResource({ cluster, inventory }: { cluster: Cluster; inventory: Inventory }): Resource {
  const askRooms = question(
    cluster,
    'rooms',
    { question: z.object({ prefix: z.string(), page: PageRequestForm }), answer: PageForm(Report) },
    ({ prefix, page }) => inventory.rooms(prefix, page),
  );
  const askRoom = question(
    cluster,
    'room',
    { question: z.string(), answer: Report },
    async room => (await inventory.roomReports([room]))[0] ?? NOBODY,
  );
  return {
    '/rooms': {
      async get(request) {
        const { page, query } = pageOf(request, ['prefix'], isRoomName);
        const { prefix = '' } = query;
        const { answers, partial } = await askRooms({ prefix, page });
        const { items, more } = mergePages(answers, page.limit, join);
        const rooms = items.map(([room, report]) => ({ room, ...counted(report) }));
        return { rooms, next: more ? (rooms.at(-1)?.room ?? null) : null, ...partly(partial) };
      },
    },
    '/rooms/:room': {
      async get(request) {
        const room = roomOf(request);
        queryOf(request, []);
        const { answers, partial } = await askRoom(room);
        const newest = inventory.newestOf(room) ?? null;
        return { room, ...counted(answers.reduce(join, NOBODY)), newest, ...partly(partial) };
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

const NOBODY: RoomReport = { connections: 0, users: [] };

function counted({ connections, users }: RoomReport) {
  return { connections, users: users.length };
}

function join(a: RoomReport, b: RoomReport): RoomReport {
  return { connections: a.connections + b.connections, users: [...new Set([...a.users, ...b.users])] };
}
