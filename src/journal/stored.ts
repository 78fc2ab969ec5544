import type { Address } from '../model/address.js';
import type { Notification } from '../model/notification.js';

/** The fields of a notification beside its key and its data, in this order. */
type Fields = [addresses: readonly Address[], event: string, except: readonly string[], ttl: number | null];

/** The fields of a notification beside its key and its data, as journals store them: JSON in one line. */
export function packFields({ addresses, event, except, ttl }: Notification): string {
  return JSON.stringify([addresses, event, except, ttl ?? null] satisfies Fields);
}

/** The notification that was stored with these fields, this key (none: an empty text) and this data. */
export function unpack(fields: string, key: string, data: string): Notification {
  const [addresses, event, except, ttl] = JSON.parse(fields) as Fields;
  return { addresses, event, data, except, key: key || undefined, ttl: ttl ?? undefined };
}
