import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Database, RootDatabase } from 'lmdb';
import { reasonOf } from '../model/reason.js';
import { StartError } from '../model/start-error.js';
import type { DataDirectory } from './directory.js';
import { GroupCommit } from './group-commit.js';
import { commitError, FileIdentity, openLmdb } from './lmdb.js';
import { renewFile } from './renew.js';
import {
  ALWAYS_HELD,
  boundBytes,
  closed,
  keyBytes,
  type Lease,
  type Store,
  type Stores,
  valueJson,
} from './store.js';
import { jsonOf, recordOf, Tally } from './store-record.js';

const FILE_NAME = 'stores.lmdb';
const COPY = fileURLToPath(new URL('../../dist/storage/store-copy.js', import.meta.url));
const MAX_STORES = 16;
// The most changes and bytes of one commit: this process does nothing else meanwhile.
const MAX_GROUP = 500;
const MAX_GROUP_BYTES = 1024 * 1024;
const SEAL_AFTER_MS = 20;

/** A table of records by key. */
export type Table = Database<Buffer, Buffer>;

/** Opens the file of the stores, which must be sound. `tallies` has the tally of each store by its name. */
export function openFile(path: string, options: { readonly noSync?: boolean } = {}) {
  const root = openLmdb(path, MAX_STORES + 1, options);
  return { root, tallies: root.openDB<string, string>({ name: 'tallies' }) };
}

export function openTable(root: RootDatabase, name: string): Table {
  return root.openDB<Buffer, Buffer>({ name: `store ${name}`, keyEncoding: 'binary', encoding: 'binary' });
}

/** One change; `record` is undefined for a removal. */
interface Change {
  readonly name: string;
  readonly key: Buffer;
  readonly record: Buffer | undefined;
}

/**
 * Stores in one LMDB file. They survive kill -9, and are checked at each start. The file is made at the first change: so
 * stores that nobody uses cost nothing.
 */
export class DiskStores implements Stores {
  readonly #directory: DataDirectory;
  readonly #path: string;
  readonly #stopping: AbortSignal;
  readonly #stores = new Map<string, DiskStore<unknown>>();
  readonly #tables = new Map<string, Table>();
  readonly #tallies = new Map<string, Tally>();
  /** Undefined is no change: it makes an empty commit. */
  readonly #commits: GroupCommit<Change | undefined, boolean>;
  readonly #requireOpen = () => {
    if (this.#stopped !== undefined) throw closed();
  };
  #isStarted = false;
  #file: ReturnType<typeof openFile> | undefined;
  #identity: FileIdentity | undefined;
  /** Set while the last commit is not sealed. */
  #sealTimer: NodeJS.Timeout | undefined;
  #stopped: Promise<void> | undefined;

  /** @param stopping aborted when the server stops, even while it still starts */
  constructor(directory: DataDirectory, stopping: AbortSignal) {
    this.#directory = directory;
    this.#path = join(directory.path, FILE_NAME);
    this.#stopping = stopping;
    this.#commits = new GroupCommit({
      maxItems: MAX_GROUP,
      maxBytes: MAX_GROUP_BYTES,
      commit: group => this.#commit(group),
    });
  }

  async start(): Promise<void> {
    await this.#directory.use();
    try {
      if (existsSync(this.#path)) await this.#openFile();
      this.#isStarted = true;
    } catch (error) {
      await this.#directory.release();
      if (this.#stopping.aborted)
        throw new StartError('Postroom was told to stop while it opened its stores.');
      throw new StartError(
        `The file ${this.#path} cannot be opened: ${reasonOf(error)}. If the disk is full, make room. If the file is damaged, move it away; a new one will be made.`,
        { cause: error },
      );
    }
  }

  open<V>(name: string): Store<V> {
    this.#requireOpen();
    const known = this.#stores.get(name);
    if (known !== undefined) return known as Store<V>;
    const change = (key: Buffer, record: Buffer | undefined) => this.#change({ name, key, record });
    const table = () => {
      this.#requireStarted();
      return this.#file && this.#tableOf(this.#file, name);
    };
    const store = new DiskStore<V>(table, change);
    this.#stores.set(name, store);
    return store;
  }

  lease(_name: string): Lease {
    return ALWAYS_HELD;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    if (!this.#isStarted) return;
    await this.#commits.idle();
    if (this.#sealTimer !== undefined) await this.#seal();
    await this.#file?.root.close();
    await this.#directory.release();
  }

  async #openFile() {
    await renewFile(COPY, this.#path, [], this.#stopping);
    this.#file = openFile(this.#path);
    this.#identity = await FileIdentity.of(this.#path);
    return this.#file;
  }

  #tableOf({ root, tallies }: ReturnType<typeof openFile>, name: string): Table {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = openTable(root, name);
      this.#tables.set(name, table);
      this.#tallies.set(name, new Tally(tallies.get(name)));
    }
    return table;
  }

  #requireStarted(): void {
    this.#requireOpen();
    if (!this.#isStarted) throw new Error('the stores have not started');
  }

  async #change(change: Change): Promise<boolean> {
    this.#requireStarted();
    return this.#commits.add(change, change.key.length + (change.record?.length ?? 0));
  }

  /**
   * One more commit after the last. It flushes the page that makes the last commit the newest: so a power failure in a
   * quiet moment does not undo it, and a damaged page cannot bring an older state back.
   */
  async #seal(): Promise<void> {
    clearTimeout(this.#sealTimer);
    this.#sealTimer = undefined;
    if (this.#commits.isWaiting) return;
    // If nothing can be written, the next change rejects.
    await this.#commits.add(undefined, 0).catch(() => undefined);
  }

  /** Resolves, for each change, to whether its key was there. */
  async #commit(group: readonly (Change | undefined)[]): Promise<boolean[]> {
    let before = new Map<string, string>();
    const wereThere: boolean[] = [];
    try {
      const file = this.#file ?? (await this.#openFile());
      const { root, tallies } = file;
      // Before the batch, in which no table can be made.
      for (const change of group) if (change !== undefined) this.#tableOf(file, change.name);
      before = new Map([...this.#tallies].map(([name, tally]) => [name, String(tally)]));
      await this.#identity?.check();
      await root.batch(() => {
        // The changes of this group so far: reading gives the values before the group.
        const changed = new Map<string, Buffer | undefined>();
        for (const change of group) {
          if (change === undefined) {
            wereThere.push(false);
            continue;
          }
          const { name, key, record } = change;
          const table = this.#tableOf(file, name);
          const changedKey = `${name} ${key.toString('latin1')}`;
          const previous = changed.has(changedKey) ? changed.get(changedKey) : table.get(key);
          const tally = this.#tallies.get(name);
          if (previous !== undefined) tally?.remove(previous);
          if (record !== undefined) tally?.add(record);
          void (record === undefined ? table.remove(key) : table.put(key, record));
          changed.set(changedKey, record);
          wereThere.push(previous !== undefined);
        }
        for (const [name, tally] of this.#tallies) void tallies.put(name, String(tally));
      });
      if (group.some(change => change !== undefined))
        this.#sealTimer ??= setTimeout(() => void this.#seal(), SEAL_AFTER_MS).unref();
      return wereThere;
    } catch (error) {
      for (const [name, tally] of before) this.#tallies.set(name, new Tally(tally));
      throw new Error(`the stores cannot be written: ${reasonOf(await commitError(error))}`, {
        cause: error,
      });
    }
  }
}

/** One store of the file. It reads only committed values. */
class DiskStore<V> implements Store<V> {
  readonly #table: () => Table | undefined;
  readonly #change: (key: Buffer, record: Buffer | undefined) => Promise<boolean>;

  /** @param table undefined while there is no file; throws when the stores are closed */
  constructor(
    table: () => Table | undefined,
    change: (key: Buffer, record: Buffer | undefined) => Promise<boolean>,
  ) {
    this.#table = table;
    this.#change = change;
  }

  async put(key: string, value: V): Promise<void> {
    const bytes = keyBytes(key);
    await this.#change(bytes, recordOf(bytes, valueJson(value)));
  }

  async remove(key: string): Promise<boolean> {
    return this.#change(keyBytes(key), undefined);
  }

  async get(key: string): Promise<V | undefined> {
    const table = this.#table();
    const bytes = keyBytes(key);
    const record = table?.get(bytes);
    return record && JSON.parse(jsonOf(bytes, record));
  }

  async range(from: string, to: string, limit: number): Promise<[string, V][]> {
    const table = this.#table();
    const [start, end] = [boundBytes(from), boundBytes(to)];
    if (limit === 0 || Buffer.compare(start, end) >= 0) return [];
    const found = table?.getRange({ start, end, limit }) ?? [];
    return [...found].map(({ key, value }) => [key.toString(), JSON.parse(jsonOf(key, value))]);
  }
}
