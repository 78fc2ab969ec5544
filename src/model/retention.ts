import type { Notification } from './notification.js';

/** How much past can be replayed: what is older, or more than fits, is trimmed, oldest first. */
export interface Retention {
  readonly seconds: number;
  readonly bytes: number;
}

// What an entry takes beside its texts: objects, strings' headers, its places in the tables.
const ENTRY_OVERHEAD_BYTES = 480;
const ADDRESS_OVERHEAD_BYTES = 32;

/** Bytes that one retained notification is counted with: the memory that it takes, about. */
export function weigh(notification: Notification): number {
  const { event, data, key = '' } = notification;
  let bytes = ENTRY_OVERHEAD_BYTES + memoryOf(event) + memoryOf(data) + memoryOf(key);
  for (const address of notification.addresses) bytes += ADDRESS_OVERHEAD_BYTES + memoryOf(address);
  for (const id of notification.except) bytes += ADDRESS_OVERHEAD_BYTES + memoryOf(id);
  return bytes;
}

// Found at once where there is none of them.
const BEYOND_LATIN = /[^\0-\xff]/;

/** Bytes that a text takes in memory: V8 keeps one for each character where all are Latin-1, else two. */
export function memoryOf(text: string): number {
  return BEYOND_LATIN.test(text) ? 2 * text.length : text.length;
}
