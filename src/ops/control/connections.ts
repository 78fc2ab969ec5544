import { z } from 'zod';
import { question } from '../../cluster/question.js';
import type { Cluster } from '../../cluster/cluster.js';
import type { ConnectionReport, Inventory } from '../../core/inventory.js';
import { isConnectionId } from '../../model/address.js';
import { mergePages } from '../../model/page.js';
import { unavailable } from '../../model/problem.js';
import { PageForm, PageRequestForm } from './forms.js';
import { connectionOf, filtersOf, pageOf, queryOf, unknownConnection } from './parameters.js';
import { partly } from './answers.js';
import type { Resource } from './resource.js';

const RETRY_AFTER_SECONDS = 1;

const Report = z.object({
  connection: z.string(),
  user: z.string().nullable(),
  rooms: z.array(z.string()),
  protocol: z.string(),
  address: z.string(),
  userAgent: z.string().nullable(),
  openedAt: z.string(),
  state: z.enum(['live', 'reading']),
  waitingBytes: z.number(),
  node: z.string(),
}) satisfies z.ZodType<ConnectionReport>;

const Filters = z.object({ room: z.string().optional(), user: z.string().optional() });

/** The open connections. */
export function connectionResource({
  cluster,
  inventory,
}: {
  cluster: Cluster;
  inventory: Inventory;
}): Resource {
  const askConnections = question(
    cluster,
    'connections',
    { question: z.object({ filters: Filters, page: PageRequestForm }), answer: PageForm(Report) },
    ({ filters, page }) => inventory.connections(filters, page),
  );
  const askConnection = question(
    cluster,
    'connection',
    { question: z.string(), answer: Report.nullable() },
    id => inventory.connection(id) ?? null,
  );
  return {
    '/connections': {
      async get(request) {
        const { page, query } = pageOf(request, ['room', 'user'], isConnectionId);
        const { answers, partial } = await askConnections({ filters: filtersOf(query), page });
        const { items, more } = mergePages(answers, page.limit, first => first);
        const connections = items.map(([, report]) => report);
        const next = more ? (connections.at(-1)?.connection ?? null) : null;
        return { connections, next, ...partly(partial) };
      },
    },
    '/connections/:connection': {
      async get(request) {
        const id = connectionOf(request);
        queryOf(request, []);
        const { answers, partial } = await askConnection(id);
        const found = answers.find(answer => answer !== null);
        if (found !== undefined && found !== null) return found;
        if (partial)
          throw unavailable(
            'Some nodes did not answer; the connection may be on one of them.',
            RETRY_AFTER_SECONDS,
          );
        throw unknownConnection(id);
      },
    },
  };
}
