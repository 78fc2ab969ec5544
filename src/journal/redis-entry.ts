import { type Id, type Moment, parseId } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { weigh } from '../model/retention.js';
import { packFields, unpack } from './stored.js';

/** An entry as the stream has it: names and values of its fields in turn, always the same in the same order. */
export type Fields = readonly string[];

/** An entry of the stream; its notification is unpacked when it is asked for. */
export interface StreamEntry extends Moment {
  readonly id: Id;
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
    ...momentOf(id),
    previous,
    node,
    number: Number(number),
    get notification() {
      return unpack(stored, key, data);
    },
  };
}

/** A text of Redis's as an id, with its parts. Throws where it is none. */
export function momentOf(text: string): Moment & { readonly id: Id } {
  const moment = parseId(text);
  if (moment === undefined) throw new Error(`Redis gave the id ${text}, which is none`);
  return { ...moment, id: text as Id };
}
