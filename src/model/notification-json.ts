import { type Address, BROADCAST, connectionOf, roomOf, userOf } from './address.js';
import type { Notification } from './notification.js';

/** The addresses of a notification, as fields that a backend posts. */
export function addressFields(addresses: readonly Address[]): Record<string, unknown> {
  const rooms = addresses.flatMap(address => roomOf(address) ?? []);
  const users = addresses.flatMap(address => userOf(address) ?? []);
  const connections = addresses.flatMap(address => connectionOf(address) ?? []);
  return {
    ...oneOrMore('room', rooms),
    ...oneOrMore('user', users),
    ...oneOrMore('connection', connections),
    ...(addresses.includes(BROADCAST) && { everyone: true }),
  };
}

const OWN_KEY = 'postroom:scheduled:';

/** The key of a notification that was sent later and has none of its publisher. */
export function ownKey(scheduleId: string): string {
  return OWN_KEY + scheduleId;
}

/**
 * A notification as a backend posts it, as JSON text; `data` is as it was posted.
 * @param about members that come before its own, such as its id
 */
export function notificationJson(notification: Notification, about: object = {}): string {
  const { addresses, event, data, except, key, ttl, ack, collapse, from } = notification;
  const fields = {
    ...about,
    ...addressFields(addresses),
    event,
    ...(except.length > 0 && { except }),
    key: key?.startsWith(OWN_KEY) ? undefined : key,
    ttl,
    ack,
    collapse,
  };
  const fromMember = from === undefined ? '' : `,"from":${from}`;
  return `${JSON.stringify(fields).slice(0, -1)}${fromMember},"data":${data}}`;
}

function oneOrMore(name: string, values: readonly string[]): Record<string, unknown> {
  if (values.length === 0) return {};
  return values.length === 1 ? { [name]: values[0] } : { [`${name}s`]: values };
}
