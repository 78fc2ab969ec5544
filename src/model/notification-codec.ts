import type { Notification } from './notification.js';
import { memoryOf } from './text.js';

/**
 * Every field of a notification, in the order in which it is stored. The values are for entries that were stored before
 * the field existed. A new field is one line here, at the end.
 */
const DEFAULTS: Omit<Required<Notification>, 'at'> = {
  addresses: [],
  event: '',
  data: 'null',
  except: [],
  key: undefined,
  ttl: undefined,
  from: undefined,
  collapse: undefined,
  ack: undefined,
  wait: undefined,
};

type Fields = { -readonly [name in keyof Omit<Notification, 'at'>]: Notification[name] };

const NAMES = Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[];
const PACKED = NAMES.filter(name => name !== 'data' && name !== 'key');

// Memory of an entry without its texts: objects, headers of strings, rows of the tables.
const ENTRY_OVERHEAD_BYTES = 480;
const ITEM_OVERHEAD_BYTES = 32;

/** All fields except key and data, which journals store separately: JSON in one line. */
export function packFields(notification: Notification): string {
  // The newer fields are seldom used.
  let length = PACKED.length;
  while (length > 0 && notification[PACKED[length - 1] ?? 'event'] === undefined) length--;
  return JSON.stringify(PACKED.slice(0, length).map(name => notification[name] ?? null));
}

/** The notification with these packed fields, this key (empty: none) and this data. */
export function unpack(packed: string, key: string, data: string): Notification {
  const { addresses, event, except, ttl } = DEFAULTS;
  const notification: Fields = { addresses, event, data, except, key: key || undefined, ttl };
  const values = JSON.parse(packed) as unknown[];
  for (const [index, name] of PACKED.entries()) {
    const value = values[index] ?? undefined;
    if (value !== undefined) notification[name] = value as never;
  }
  return notification;
}

/** The weight of a retained notification in bytes: about the memory that it takes. */
export function weigh(notification: Notification): number {
  let bytes = ENTRY_OVERHEAD_BYTES;
  for (const name of NAMES) {
    const value = notification[name];
    if (typeof value === 'string') bytes += memoryOf(value);
    else if (typeof value === 'object')
      for (const text of value) bytes += ITEM_OVERHEAD_BYTES + memoryOf(text);
  }
  return bytes;
}
