import { stat } from 'node:fs/promises';
import { open, type RootDatabase } from 'lmdb';

const COMMITS = {
  // A write resolves when it is flushed. lmdb's default, to flush during the next commit, is no faster.
  overlappingSync: false,
  // The page that makes a commit the newest is flushed with the next commit: this halves the cost of both.
  noMetaSync: true,
  // We make groups ourselves. With lmdb's groups, a failed commit leaves a rejection that nobody can catch.
  eventTurnBatching: false,
};

/**
 * Opens an LMDB file, which must be sound: see `renewFile`. Makes it if it is missing.
 * @param options.noSync for a file that is flushed once, at its end
 */
export function openLmdb(path: string, maxDbs: number, options: { noSync?: boolean } = {}): RootDatabase {
  return open({ path, maxDbs, ...COMMITS, ...options });
}

/** The reason behind lmdb's "Commit failed (see commitError for details)"; any other error as it is. */
export async function commitError(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error;
  return Promise.resolve(error.commitError).catch((cause: unknown) => cause);
}

/** Recognizes an open file. LMDB goes on writing to a file that was removed, and the next start would not find it. */
export class FileIdentity {
  readonly #path: string;
  readonly #inode: bigint | undefined;

  private constructor(path: string, inode: bigint | undefined) {
    this.#path = path;
    this.#inode = inode;
  }

  static async of(path: string): Promise<FileIdentity> {
    return new FileIdentity(path, await inodeOf(path));
  }

  /** Rejects if the path has another file, or none. */
  async check(): Promise<void> {
    if ((await inodeOf(this.#path)) === this.#inode) return;
    throw new Error(`${this.#path} was removed or replaced while in use; restart the server`);
  }
}

/** Undefined if there is no such file. */
async function inodeOf(path: string): Promise<bigint | undefined> {
  return stat(path, { bigint: true }).then(
    ({ ino }) => ino,
    () => undefined,
  );
}
