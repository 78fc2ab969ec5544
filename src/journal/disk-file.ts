import { fileURLToPath } from 'node:url';
import type { Database, RootDatabase } from 'lmdb';
import { weigh } from '../model/notification-codec.js';
import { type Id, momentOf } from '../model/id.js';
import type { Entry } from '../model/notification.js';
import { FileIdentity, openLmdb } from '../storage/lmdb.js';
import { renewFile } from '../storage/renew.js';
import { openId, readRecord, recordBytes, sealedId } from './disk-record.js';
import type { Target } from './key-reuse.js';

/** The tables of a journal's file. */
export interface Tables {
  readonly root: RootDatabase;
  /** Entries by their moments, as `disk-record.ts` writes them. */
  readonly records: Database<Buffer, EntryKey>;
  /** The id that each idempotency key stands for. */
  readonly keys: Database<Id, string>;
  /** `format`; `floor`: the newest trimmed id; `newest`: the newest id; `probe`: written to test whether that works. */
  readonly meta: Database<string, string>;
}

export type EntryKey = [time: number, sequence: number];

/** Version of the file's format. A file of another version is refused. */
export const FORMAT = '2';

const NAMES = ['records', 'keys', 'meta'] as const;
const COPY = fileURLToPath(new URL('../../dist/journal/disk-copy.js', import.meta.url));

/** Opens the tables of a file, which must be sound. Makes what is missing. */
export function openTables(path: string, options: { readonly noSync?: boolean } = {}): Tables {
  const root = openLmdb(path, NAMES.length, options);
  return {
    root,
    records: root.openDB<Buffer, EntryKey>({ name: 'records', encoding: 'binary' }),
    keys: root.openDB<Id, string>({ name: 'keys' }),
    meta: root.openDB<string, string>({ name: 'meta' }),
  };
}

/** The open file of a disk journal. Its contents were checked. */
export class DiskFile {
  /** The newest trimmed id when it was opened. */
  readonly floor: Id;
  readonly #tables: Tables;
  readonly #identity: FileIdentity;

  private constructor(tables: Tables, floor: Id, identity: FileIdentity) {
    this.#tables = tables;
    this.floor = floor;
    this.#identity = identity;
  }

  /**
   * Opens the file at a path. Rejects with the reason if it cannot be read or written, or is damaged.
   * @param floor the id that a new journal begins after
   * @param stopping aborted when the server stops
   */
  static async open(path: string, floor: Id, stopping: AbortSignal): Promise<DiskFile> {
    await renewFile(COPY, path, [floor], stopping);
    const tables = openTables(path);
    try {
      return new DiskFile(tables, openId(tables.meta.get('floor') ?? ''), await FileIdentity.of(path));
    } catch (error) {
      await tables.root.close();
      throw error;
    }
  }

  /** All entries, the oldest first. Throws if one is damaged. */
  *entries(limit?: number): Generator<Entry> {
    const range = { snapshot: false, ...(limit !== undefined && { limit }) };
    for (const { key, value } of this.#tables.records.getRange(range)) yield entryOf(key, value);
  }

  /** Adds entries in one commit. @param previous the newest id before them */
  async append(entries: readonly Entry[], previous: Id): Promise<void> {
    const { root, records, keys, meta } = this.#tables;
    let last = previous;
    await root.batch(() => {
      for (const { time, sequence, id, notification } of entries) {
        void records.put([time, sequence], recordBytes(id, notification, last));
        if (notification.key !== undefined) void keys.put(notification.key, id);
        last = id;
      }
      void meta.put('newest', sealedId(last));
    });
  }

  /** The entry that an idempotency key stands for. */
  find(key: string): { readonly id: Id; readonly target: Target } | undefined {
    const id = this.#tables.keys.get(key);
    if (id === undefined) return undefined;
    const { time, sequence } = momentOf(id);
    const bytes = this.#tables.records.get([time, sequence]);
    return bytes && { id, target: entryOf([time, sequence], bytes).notification };
  }

  /** Removes the oldest entries in one commit. Resolves to their weight in bytes. */
  async remove(entries: readonly Entry[]): Promise<number> {
    const { root, records, keys, meta } = this.#tables;
    let bytes = 0;
    await root.batch(() => {
      for (const { time, sequence, id, notification } of entries) {
        void records.remove([time, sequence]);
        const { key } = notification;
        if (key !== undefined && keys.get(key) === id) void keys.remove(key);
        bytes += weigh(notification);
      }
      const last = entries.at(-1);
      if (last !== undefined) void meta.put('floor', sealedId(last.id));
    });
    return bytes;
  }

  /** Rejects if the file was removed or replaced. */
  async check(): Promise<void> {
    await this.#identity.check();
  }

  /** Writes a text that nobody reads. Rejects if nothing can be written. */
  async probe(text: string): Promise<void> {
    await this.#tables.meta.put('probe', text);
  }

  async close(): Promise<void> {
    await this.#tables.root.close();
  }
}

function entryOf([time, sequence]: EntryKey, bytes: Buffer): Entry {
  return readRecord({ time, sequence }, bytes).entry;
}
