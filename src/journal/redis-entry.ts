import { packFields, unpack, weigh } from '../model/notification-codec.js';
import { type Id, type Moment, momentOf } from '../model/id.js';
import type { Notification } from '../model/notification.js';

/** The fields of an entry of the stream: name, value, name, value, … The names and their order are always the same. */
export type Fields = readonly string[];

/** An entry of the stream. Its notification is unpacked on access. */
export interface StreamEntry extends IdMoment {
  /** The entry before it in the stream. */
  readonly previous: IdMoment;
  /** The node that appended it, and that node's number for it. */
  readonly node: string;
  readonly number: number;
  readonly notification: Notification;
}

/** The arguments of the script `APPEND` for one notification. */
export function packed(number: number, notification: Notification): (string | number)[] {
  return [number, weigh(notification), notification.key ?? '', packFields(notification), notification.data];
}

/** The entry with this id and these fields. Throws if `APPEND` did not write them. */
export function entryOf(id: string, fields: Fields): StreamEntry {
  const [, previous = '', , node = '', , number = '', , , , key = '', , stored = '', , data] = fields;
  if (data === undefined || fields[10] !== 'n') throw new Error('its fields are others');
  return {
    ...idMoment(id),
    previous: idMoment(previous),
    node,
    number: Number(number),
    get notification() {
      return unpack(stored, key, data);
    },
  };
}

/** An id with its parts. */
export type IdMoment = Moment & { readonly id: Id };

/** An id that Redis gave, with its parts. Throws if the text is no id. */
export function idMoment(text: string): IdMoment {
  return { ...momentOf(text), id: text as Id };
}
