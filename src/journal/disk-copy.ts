/** node disk-copy.js <file> <id> <process>: see `renewFile` in disk-file.ts. What is wrong goes to standard output, as one line. */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Database, open } from 'lmdb';
import type { Address } from '../model/address.js';
import { compareMoments, formatId, type Id, type Moment } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { reasonOf } from '../model/reason.js';
import { type EntryKey, FORMAT, openTables } from './disk-file.js';
import { openId, readRecord, recordBytes, sealedId } from './disk-record.js';

/** A journal as it was read: what it begins after, and its entries in order. */
interface Journal {
  readonly floor: Id;
  readonly entries: Iterable<Moment & { readonly notification: Notification }>;
}

/** What version 0.2 stored: a notification's fields in this order. */
type StoredBefore = [
  addresses: readonly Address[],
  event: string,
  data: string,
  except: readonly string[],
  key: string | null,
  ttl: number | null,
];

const BATCH = 1000;
const [path = '', floor = '', server = ''] = process.argv.slice(2);
// A name of its own: a copier whose server was killed may still be at work.
const copy = `${path}.new.${process.pid}`;

try {
  await write(existsSync(path) ? read() : { floor: floor as Id, entries: [] });
  if (process.ppid !== Number(server)) throw new Error('its server has ended');
  renameSync(copy, path);
  rmSync(`${copy}-lock`, { force: true });
  flush(dirname(path));
} catch (error) {
  console.log(reasonOf(error));
  rmSync(copy, { force: true });
  process.exitCode = 1;
}

async function write({ floor, entries }: Journal): Promise<void> {
  // Flushed once, at the end.
  const { root, records, keys, meta } = openTables(copy, { noSync: true });
  let previous = floor;
  const batch: (() => void)[] = [
    () => void meta.put('format', FORMAT),
    () => void meta.put('floor', sealedId(floor)),
  ];
  const commit = async () => {
    await root.batch(() => {
      for (const put of batch.splice(0)) put();
    });
  };
  for (const { time, sequence, notification } of entries) {
    const id = formatId({ time, sequence });
    const bytes = recordBytes(id, notification, previous);
    const { key } = notification;
    batch.push(() => {
      void records.put([time, sequence], bytes);
      if (key !== undefined) void keys.put(key, id);
    });
    previous = id;
    if (batch.length >= BATCH) await commit();
  }
  batch.push(() => void meta.put('newest', sealedId(previous)));
  await commit();
  await root.close();
  flush(copy);
}

function read(): Journal {
  if (!statSync(path).isFile()) throw new Error('it is not a file');
  const root = open({ path, readOnly: true, maxDbs: 8 });
  const names = [...root.getKeys()];
  const meta = root.openDB<string, string>({ name: named(names, 'meta') });
  const format = meta.get('format');
  if (format === undefined && names.includes('entries') && !names.includes('records'))
    return { floor: idIn(meta.get('floor')), entries: entriesBefore(root.openDB({ name: 'entries' })) };
  if (format !== FORMAT) throw new Error('its format is not known to this version');
  const records = root.openDB<Buffer, EntryKey>({ name: named(names, 'records'), encoding: 'binary' });
  const floor = openId(idIn(meta.get('floor')));
  return { floor, entries: entriesIn(records, floor, openId(idIn(meta.get('newest')))) };
}

/** The entries from after `floor` up to `newest`. Throws where one is damaged or missing. */
function* entriesIn(records: Database<Buffer, EntryKey>, floor: Id, newest: Id): Journal['entries'] {
  let last = floor;
  for (const { key, value } of records.getRange()) {
    const { entry, previous } = readRecord(momentOf(key), value);
    if (previous !== last) throw new Error(`entries between ${last} and ${entry.id} are missing`);
    last = entry.id;
    yield entry;
  }
  if (last !== newest) throw new Error(`entries between ${last} and ${newest} are missing`);
}

/** The entries of a file that version 0.2 wrote, which has no check sums. */
function* entriesBefore(entries: Database<StoredBefore, EntryKey>): Journal['entries'] {
  let last: Moment = { time: 0, sequence: 0 };
  for (const { key, value } of entries.getRange()) {
    const moment = momentOf(key);
    if (compareMoments(moment, last) <= 0) throw new Error('its entries are not in order');
    last = moment;
    const [addresses, event, data, except, itsKey, ttl] = value;
    const fields = { addresses, event, data, except, key: itsKey ?? undefined, ttl: ttl ?? undefined };
    yield { ...moment, notification: fields };
  }
}

function named(names: readonly unknown[], name: string): string {
  if (!names.includes(name)) throw new Error(`its table "${name}" is missing`);
  return name;
}

function momentOf([time, sequence]: EntryKey): Moment {
  return { time, sequence };
}

function idIn(text: string | undefined): Id {
  if (text === undefined) throw new Error('it does not say where it begins and ends');
  return text as Id;
}

function flush(file: string): void {
  const descriptor = openSync(file, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}
