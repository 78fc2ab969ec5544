import { z } from 'zod';
import { question } from '../../cluster/question.js';
import type { Cluster } from '../../cluster/cluster.js';
import type { Inventory, MemberReport } from '../../core/inventory.js';
import { mergePages } from '../../model/page.js';
import { isShortText } from '../../model/text.js';
import { PageForm, PageRequestForm } from './forms.js';
import { pageOf, roomOf } from './parameters.js';
import { partly } from './answers.js';
import type { Resource } from './resource.js';

const Report = z.object({
  info: z.string().optional(),
  at: z.number(),
  node: z.string(),
  connections: z.number(),
});

/** The users in a room. */
export function memberResource({ cluster, inventory }: { cluster: Cluster; inventory: Inventory }): Resource {
  const askMembers = question(
    cluster,
    'members',
    { question: z.object({ room: z.string(), page: PageRequestForm }), answer: PageForm(Report) },
    ({ room, page }) => inventory.members(room, page),
  );
  return {
    '/rooms/:room/members': {
      async get(request) {
        const room = roomOf(request);
        const { page } = pageOf(request, [], isShortText);
        const { answers, partial } = await askMembers({ room, page });
        const { items, more } = mergePages(answers, page.limit, join);
        const members = items.map(([user, { info = 'null', connections }]) => ({
          user,
          info: JSON.parse(info),
          connections,
        }));
        return { members, next: more ? (members.at(-1)?.user ?? null) : null, ...partly(partial) };
      },
    },
  };
}

/** The `info` of the connection that came last holds. If both came in one moment, presence decides by the node, too. */
function join(a: MemberReport, b: MemberReport): MemberReport {
  const isLater = a.at === b.at ? b.node > a.node : b.at > a.at;
  return { ...(isLater ? b : a), connections: a.connections + b.connections };
}
