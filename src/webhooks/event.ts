import type { EndReason } from '../model/close.js';

// About as many bytes has an event without `data` and `info`.
const EVENT_BYTES = 500;

interface ConnectionFields {
  readonly connection: string;
  readonly user: string | null;
  readonly address: string;
  readonly protocol: string;
}

/** What has happened, as PHP hears it (docs/protocol.md). */
export type Happening =
  | ({ readonly type: 'connection.opened' } & ConnectionFields)
  | ({
      readonly type: 'connection.closed';
      /** `crashed`: the process of the connection ended without a word. */
      readonly reason: EndReason | 'crashed';
      /** How long it was open; null if it is not known. */
      readonly seconds: number | null;
    } & ConnectionFields)
  | {
      readonly type: 'room.joined' | 'room.left';
      readonly room: string;
      readonly connection: string;
      readonly user: string | null;
    }
  | { readonly type: 'room.occupied' | 'room.vacated'; readonly room: string }
  | {
      readonly type: 'member.joined' | 'member.left';
      readonly room: string;
      readonly user: string;
      /** The token's `info`; null if it has none. */
      readonly info: unknown;
    }
  | {
      readonly type: 'message';
      readonly room: string;
      /** The event that the browser named. */
      readonly event: string;
      /** JSON text: numbers in it stay as they were. */
      readonly data: string;
      readonly connection: string;
      readonly user: string | null;
      /** The id of the notification that it became. */
      readonly notificationId: string;
    }
  | {
      readonly type: 'notification.missed';
      /** JSON text: as it was posted, with its `id`. */
      readonly notification: string;
      /** Null: nobody at all has acknowledged it. */
      readonly user: string | null;
    };

/** All types of events. */
export const EVENT_TYPES = [
  'connection.opened',
  'connection.closed',
  'room.joined',
  'room.left',
  'room.occupied',
  'room.vacated',
  'member.joined',
  'member.left',
  'message',
  'notification.missed',
] as const satisfies readonly Happening['type'][];

/** The type of an event. */
export type EventType = (typeof EVENT_TYPES)[number];

/** An event on its way to PHP. */
export type WebhookEvent = Happening & {
  readonly id: string;
  /** RFC 3339, in UTC. */
  readonly at: string;
  readonly node: string;
};

/** The events as a request has them: JSON text. */
export function bodyOf(events: readonly WebhookEvent[]): string {
  return `{"events":[${events.map(jsonOf).join()}]}`;
}

function jsonOf(event: WebhookEvent): string {
  if (event.type === 'message') {
    const { data, ...fields } = event;
    return `${JSON.stringify(fields).slice(0, -1)},"data":${data}}`;
  }
  if (event.type === 'notification.missed') {
    const { notification, ...fields } = event;
    return `${JSON.stringify(fields).slice(0, -1)},"notification":${notification}}`;
  }
  return JSON.stringify(event);
}

/** About how many bytes an event takes. */
export function weigh(event: WebhookEvent): number {
  if (event.type === 'message') return EVENT_BYTES + Buffer.byteLength(event.data);
  if (event.type === 'notification.missed') return EVENT_BYTES + Buffer.byteLength(event.notification);
  return EVENT_BYTES + ('info' in event ? Buffer.byteLength(JSON.stringify(event.info)) : 0);
}
