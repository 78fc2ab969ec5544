/** node disk-copy.js <file> <process> <floor>: the script for `renewFile`. */
import { existsSync, statSync } from 'node:fs';
import { type Database, open } from 'lmdb';
import type { Address } from '../model/address.js';
import { compareMoments, formatId, type Id, type Moment } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { writeCopy } from '../storage/renew.js';
import { type EntryKey, FORMAT, openTables } from './disk-file.js';
import { openId, readRecord, recordBytes, sealedId } from './disk-record.js';

/** A journal that was read: the id that it begins after, and its entries in order. */
interface Journal {
  readonly floor: Id;
  readonly entries: Iterable<Moment & { readonly notification: Notification }>;
}

/** A notification as version 0.2 stored it: its fields in this order. */
type StoredBefore = [
  addresses: readonly Address[],
  event: string,
  data: string,
  except: readonly string[],
  key: string | null,
  ttl: number | null,
];

const BATCH = 1000;

await writeCopy((path, copy, [floor]) =>
  write(copy, existsSync(path) ? read(path) : { floor: floor as Id, entries: [] }),
);

async function write(copy: string, { floor, entries }: Journal): Promise<void> {
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
}

function read(path: string): Journal {
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

/** The entries from after `floor` up to `newest`. Throws if one is damaged or missing. */
function* entriesIn(records: Database<Buffer, EntryKey>, floor: Id, newest: Id): Journal['entries'] {
  let last = floor;
  for (const { key, value } of records.getRange()) {
    const { entry, previous } = readRecord(momentAt(key), value);
    if (previous !== last) throw new Error(`entries between ${last} and ${entry.id} are missing`);
    last = entry.id;
    yield entry;
  }
  if (last !== newest) throw new Error(`entries between ${last} and ${newest} are missing`);
}

/** The entries of a file of version 0.2, which has no check sums. */
function* entriesBefore(entries: Database<StoredBefore, EntryKey>): Journal['entries'] {
  let last: Moment = { time: 0, sequence: 0 };
  for (const { key, value } of entries.getRange()) {
    const moment = momentAt(key);
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

function momentAt([time, sequence]: EntryKey): Moment {
  return { time, sequence };
}

function idIn(text: string | undefined): Id {
  if (text === undefined) throw new Error('it does not say where it begins and ends');
  return text as Id;
}
