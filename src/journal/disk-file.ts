import { execFile } from 'node:child_process';
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Database, open, type RootDatabase } from 'lmdb';
import type { Id } from '../model/id.js';

/** The tables of a journal's file. */
export interface Tables {
  readonly root: RootDatabase;
  /** Entries by their moments, as `disk-record.ts` writes them. */
  readonly records: Database<Buffer, EntryKey>;
  /** The id that each idempotency key stands for. */
  readonly keys: Database<Id, string>;
  /** `format`; `floor`: the newest trimmed id; `newest`: the newest id; `probe`: written to see whether that can be done. */
  readonly meta: Database<string, string>;
}

export type EntryKey = [time: number, sequence: number];

/** Version of the file's format. A file with another one is refused. */
export const FORMAT = '2';

const NAMES = ['records', 'keys', 'meta'] as const;
const COMMITS = {
  // A write resolves when it is flushed. Flushing beside the next commit, lmdb's default, is no faster.
  overlappingSync: false,
  // The page that makes a commit the newest is flushed with the next one, which halves the cost of both.
  noMetaSync: true,
  // The groups are ours; with lmdb's own, a commit that fails leaves a rejection that nobody can catch.
  eventTurnBatching: false,
};

// How long reading and copying may take: as long as the slowest disk needs, but not for ever.
const COPY_MS = 60_000;
const COPY_MS_PER_MIB = 500;
// It is nearly always done by then, and the stop finds a journal that is open.
const STOP_MS = 5000;
const COPY = fileURLToPath(new URL('../../dist/journal/disk-copy.js', import.meta.url));

/** Opens the tables of a file, which must be sound; makes what is not there. */
export function openTables(path: string, options: { readonly noSync?: boolean } = {}): Tables {
  const root = open({ path, maxDbs: NAMES.length, ...COMMITS, ...options });
  return {
    root,
    records: root.openDB<Buffer, EntryKey>({ name: 'records', encoding: 'binary' }),
    keys: root.openDB<Id, string>({ name: 'keys' }),
    meta: root.openDB<string, string>({ name: 'meta' }),
  };
}

/**
 * Puts a fresh copy in the place of a journal's file, made of entries that were all proven to be sound; makes a file
 * where there is none. It is done in a process of its own: LMDB maps the file into memory and trusts it, so that a
 * damaged file, or a full disk, would end the process without an error that could be caught. Rejects with the reason
 * where the file cannot be read, or the copy not be written; the file is then as it was.
 * @param floor the id that a new journal begins after
 * @param stopping ends it, if it takes longer than a few seconds more
 */
export async function renewFile(path: string, floor: Id, stopping: AbortSignal): Promise<void> {
  await removeCopies(path);
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  const timeout = Math.ceil(COPY_MS + (size / 2 ** 20) * COPY_MS_PER_MIB);
  const tooLate = new AbortController();
  const stop = () => setTimeout(() => tooLate.abort(), STOP_MS).unref();
  stopping.addEventListener('abort', stop);
  const options = { timeout, killSignal: 'SIGKILL', signal: tooLate.signal } as const;
  try {
    await new Promise<void>((resolve, reject) => {
      execFile(process.execPath, [COPY, path, floor, String(process.pid)], options, (error, stdout) => {
        if (error === null) resolve();
        else reject(new Error(stdout.trim() || 'its contents cannot be read'));
      });
    });
  } catch (error) {
    await removeCopies(path);
    throw error;
  } finally {
    stopping.removeEventListener('abort', stop);
  }
}

/** One that was killed may have left a copy; and one whose server was killed can no longer put its own in place. */
async function removeCopies(path: string): Promise<void> {
  for (const name of await readdir(dirname(path)))
    if (name.startsWith(`${basename(path)}.new`)) await rm(join(dirname(path), name), { force: true });
}
