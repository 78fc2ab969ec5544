import { crc32 } from 'node:zlib';
import { formatId, type Id, type Moment } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';
import { packFields, unpack } from '../model/notification-codec.js';

const CHECK_BYTES = 4;
const NEWLINE = 0x0a;

/** An entry of the file, with the id of the entry before it: so a missing entry is noticed. */
export interface DiskRecord {
  readonly entry: Entry;
  readonly previous: Id;
}

/**
 * The bytes of an entry: a check sum (CRC-32) of its id and all that follows, then four lines: the id of the entry
 * before it, its key as JSON, its other fields, its data.
 */
export function recordBytes(id: Id, notification: Notification, previous: Id): Buffer {
  const { key = '', data } = notification;
  const text = `${previous}\n${JSON.stringify(key)}\n${packFields(notification)}\n${data}`;
  const bytes = Buffer.allocUnsafe(CHECK_BYTES + Buffer.byteLength(text));
  bytes.write(text, CHECK_BYTES);
  bytes.writeUInt32BE(crc32(bytes.subarray(CHECK_BYTES), crc32(id)));
  return bytes;
}

/** Reads the result of `recordBytes`. Throws if it is damaged. */
export function readRecord(moment: Moment, bytes: Buffer): DiskRecord {
  const id = formatId(moment);
  const isSound =
    bytes.length > CHECK_BYTES && bytes.readUInt32BE() === crc32(bytes.subarray(CHECK_BYTES), crc32(id));
  if (!isSound) throw new Error(`the entry ${id} is damaged`);
  const [previous, key, fields, start] = lines(bytes);
  // Read separately, so that it does not keep the rest in memory.
  const data = bytes.toString('utf8', start);
  return {
    entry: {
      time: moment.time,
      sequence: moment.sequence,
      id,
      notification: unpack(fields, JSON.parse(key), data),
    },
    previous: previous as Id,
  };
}

/** The first three lines, and where the fourth begins, which may contain newlines. */
function lines(bytes: Buffer): [string, string, string, number] {
  const found: string[] = [];
  let start = CHECK_BYTES;
  while (found.length < 3) {
    const end = bytes.indexOf(NEWLINE, start);
    found.push(bytes.toString('utf8', start, end));
    start = end + 1;
  }
  const [previous = '', key = '', fields = ''] = found;
  return [previous, key, fields, start];
}

/** A single id with its check sum. */
export function sealedId(id: Id): string {
  return `${id} ${crc32(id)}`;
}

/** Reads the result of `sealedId`. Throws if it is damaged. */
export function openId(text: string): Id {
  const [id = ''] = text.split(' ');
  if (sealedId(id as Id) !== text) throw new Error('an id in its table "meta" is damaged');
  return id as Id;
}
