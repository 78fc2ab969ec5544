import type { Request } from 'express';
import type { Postroom } from '../../core/postroom.js';
import { isScheduleId } from '../../core/schedule.js';
import type { Findings } from '../../core/receipts/inquiry.js';
import type { State } from '../../core/receipts/receipts.js';
import { addressFields, notificationJson } from '../../model/notification-json.js';
import { Problem } from '../../model/problem.js';
import { filtersOf, pageOf, queryOf } from './parameters.js';
import { partly } from './answers.js';
import type { Resource } from './resource.js';

/** What became of a notification. */
export function notificationResource({ postroom }: { postroom: Postroom }): Resource {
  return {
    '/notifications': {
      async get(request) {
        const { page, query } = pageOf(request, ['scheduled'], isScheduleId);
        if (query.scheduled === undefined)
          throw new Problem('invalid_request', 'Ask for what waits: /notifications?scheduled');
        const found = await postroom.schedule.list(page.after ?? '', page.limit + 1);
        const items = found.slice(0, page.limit).map(([id, { notification, at }]) => {
          const about = JSON.stringify({ scheduled: id, at: new Date(at).toISOString() });
          return `${about.slice(0, -1)},"notification":${notificationJson(notification)}}`;
        });
        const next = found.length > page.limit ? JSON.stringify(found[page.limit - 1]?.[0]) : 'null';
        return `{"scheduled":[${items.join()}],"next":${next}}`;
      },
    },
    '/notifications/:id': {
      async delete(request) {
        queryOf(request, []);
        if (await postroom.schedule.cancel(idOf(request))) return { cancelled: true };
        throw new Problem('not_found', 'Nothing with this schedule id waits: it was sent, or never was.');
      },
      async get(request) {
        const id = idOf(request);
        const { user } = filtersOf(queryOf(request, ['user']));
        const entry = postroom.entryOf(id);
        if (entry === undefined)
          throw new Problem(
            'not_found',
            'No notification with this id is retained (RETENTION_SECONDS, RETENTION_BYTES).',
          );
        const { event, addresses } = entry.notification;
        const findings = await postroom.inquiry.ask(id, user);
        return {
          id,
          event,
          addresses: addressFields(addresses),
          at: new Date(entry.time).toISOString(),
          connections: findings.connections,
          acknowledged: findings.acknowledged,
          users: [...findings.users].map(([name, counts]) => ({ user: name, ...counts })),
          missed: findings.missed.map(missed => ({ ...missed, at: new Date(missed.at).toISOString() })),
          ...(user !== undefined && {
            user: { user, state: findings.state, detail: DETAILS[findings.state](findings) },
          }),
          ...partly(findings.partial),
        };
      },
    },
  };
}

function idOf({ params }: Request): string {
  return String(params.id);
}

const DETAILS: Record<State, (findings: Findings) => string> = {
  acknowledged: () => 'A connection of the user has acknowledged it.',
  delivered: () =>
    'It was written to a connection of the user, or passed over (its ttl had passed, or a newer one took its place); no acknowledgement has come.',
  reading: ({ behind }) =>
    `A connection of the user is ${behind} notifications behind; it gets its own as its socket drains.`,
  excepted: () => 'The connection of the user is in "except".',
  expired: () => 'Its ttl had passed before the connection of the user could get it.',
  not_in_room: () => 'The user is connected, but not in a room of the notification, or came too late.',
  not_connected: () => 'No connection of the user is open now.',
  unknown: () => 'No node knows it any more.',
};
