import { packFields, unpack, weigh } from '../model/codec.js';
import { type Id, type Moment, momentOf } from '../model/id.js';
import type { Notification } from '../model/notification.js';

/** An entry as the stream has it: names and values of its fields in turn, always the same in the same order. */
export type Fields = readonly string[];

/** An entry of the stream; its notification is unpacked when it is asked for. */
export interface StreamEntry extends IdMoment {
  /** Id of the entry before it in the stream. */
  readonly previous: string;
  /** Who appended it, and that node's number for it. */
  readonly node: string;
  readonly number: number;
  readonly notification: Notification;
}

/** What the script that appends is given for one notification. */
export function packed(number: number, notification: Notification): (string | number)[] {
  return [number, weigh(notification), notification.key ?? '', packFields(notification), notification.data];
}

/** The entry with this id and these fields. Throws where the script has not written them. */
export function entryOf(id: string, fields: Fields): StreamEntry {
  const [, previous = '', , node = '', , number = '', , , , key = '', , stored = '', , data] = fields;
  if (data === undefined || fields[10] !== 'n') throw new Error('its fields are others');
  return {
    ...idMoment(id),
    previous,
    node,
    number: Number(number),
    get notification() {
      return unpack(stored, key, data);
    },
  };
}

/** An id with its parts. */
export type IdMoment = Moment & { readonly id: Id };

/** An id that Redis gave, with its parts. Throws for a text that is none. */
export function idMoment(text: string): IdMoment {
  return { ...momentOf(text), id: text as Id };
}
