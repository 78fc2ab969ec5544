import type { Notification } from './notification.js';

/** How much past can be replayed: what is older, or more than fits, is trimmed, oldest first. */
export interface Retention {
  readonly seconds: number;
  readonly bytes: number;
}

// What an entry takes beside its texts: objects, strings' headers, its places in the tables.
const ENTRY_OVERHEAD_BYTES = 256;
const ADDRESS_OVERHEAD_BYTES = 32;

/** Bytes that one retained notification is counted with, an estimate of the memory it takes. */
export function weigh(notification: Notification): number {
  let bytes = ENTRY_OVERHEAD_BYTES + notification.event.length + notification.data.length;
  for (const address of notification.addresses) bytes += ADDRESS_OVERHEAD_BYTES + address.length;
  for (const id of notification.except) bytes += ADDRESS_OVERHEAD_BYTES + id.length;
  return bytes + (notification.key?.length ?? 0);
}
