import { mkdir, stat } from 'node:fs/promises';
import { type Database, open, type RootDatabase } from 'lmdb';
import type { Logger } from 'pino';
import type { Address } from '../model/address.js';
import { formatId, type Id, IdClock, type Moment, parseId } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';
import { type Problem, unavailable } from '../model/problem.js';
import { type Retention, weigh } from '../model/retention.js';
import { StartError } from '../model/start-error.js';
import { Gathering, turnEnd } from './gathering.js';
import type { Appended, Follower, Journal } from './journal.js';
import { type Lock, lockDirectory } from './lock.js';
import { canBeOpened } from './soundness.js';

const TRIM_INTERVAL_MS = 1000;
// Entries trimmed in one go, and loaded before others get their turn: a few milliseconds' worth.
const TRIM_STEP = 500;
const LOAD_STEP = 2000;
const SEAL_AFTER_MS = 20;
const PROBE_INTERVAL_MS = 1000;
const RETRY_AFTER_SECONDS = 2;

const FILE_NAME = 'journal.lmdb';
const DATABASES = ['entries', 'keys', 'meta'];
const COMMITS = {
  // A write resolves when it is flushed. Flushing beside the next commit, lmdb's default, is no faster.
  overlappingSync: false,
  // The page that makes a commit the newest is flushed with the next one (see #seal), which halves the cost of both.
  noMetaSync: true,
  // The groups are ours; with lmdb's own, a commit that fails leaves a rejection that nobody can catch.
  eventTurnBatching: false,
};

type EntryKey = [time: number, sequence: number];
/** A notification as it is stored: its fields in this order. */
type Stored = [
  addresses: readonly Address[],
  event: string,
  data: string,
  except: readonly string[],
  key: string | null,
  ttl: number | null,
];

interface Stores {
  readonly root: RootDatabase;
  readonly entries: Database<Stored, EntryKey>;
  /** The id that each idempotency key stands for. */
  readonly keys: Database<Id, string>;
  /** `floor`: the newest trimmed id. */
  readonly meta: Database<Id, string>;
  /** The newest trimmed id when it was opened. */
  readonly floor: Id;
  readonly lock: Lock;
  /** Of the file that is open. */
  readonly inode: bigint | undefined;
}

/** What is committed together. */
interface Group {
  readonly entries: Entry[];
  /** For each of them, once it is delivered, how many connections it was written to. */
  readonly reached: number[];
  readonly committed: Promise<void>;
}

/**
 * Keeps the past in LMDB: it survives kill -9, and an entry is delivered only when it is committed. Everything
 * that arrives while one commit is under way goes into the next one, so that many publishes cost one commit.
 */
export class DiskJournal implements Journal {
  readonly kind = 'disk';
  readonly #directory: string;
  readonly #path: string;
  readonly #retention: Retention;
  readonly #now: () => number;
  readonly #log: Logger;
  #stores: Stores | undefined;
  #ids: IdClock;
  #follower: Follower | undefined;
  #group: Group | undefined;
  readonly #gathering = new Gathering();
  #committing: Promise<void> = Promise.resolve();
  /** Keys whose entry is not committed yet. */
  readonly #pendingKeys = new Map<string, { id: Id; committed: Promise<void> }>();
  #bytes = 0;
  #available = false;
  #trimTimer: NodeJS.Timeout | undefined;
  #probeTimer: NodeJS.Timeout | undefined;
  #sealTimer: NodeJS.Timeout | undefined;
  #trimming: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  /** @param directory is made if it is not there  @param now milliseconds since the epoch */
  constructor(directory: string, retention: Retention, now: () => number, log: Logger) {
    this.#directory = directory;
    this.#path = `${directory}/${FILE_NAME}`;
    this.#retention = retention;
    this.#now = now;
    this.#log = log;
    this.#ids = new IdClock(now, { time: 0, sequence: 0 });
  }

  async append(notification: Notification): Promise<Appended> {
    if (this.#stores === undefined || !this.#available) throw refusal();
    const { key } = notification;
    const first = key === undefined ? undefined : this.#firstWith(this.#stores, key);
    if (first !== undefined) {
      await first.committed;
      return { id: first.id, duplicate: true, connections: 0, partial: false };
    }
    this.#group ??= this.#newGroup(this.#stores);
    const { entries, reached, committed } = this.#group;
    const moment = this.#ids.next();
    const id = formatId(moment);
    const place = entries.push({ ...moment, id, notification }) - 1;
    if (key !== undefined) this.#pendingKeys.set(key, { id, committed });
    await committed;
    return { id, duplicate: false, connections: reached[place] ?? 0, partial: false };
  }

  async follow(follower: Follower): Promise<Id> {
    const started = performance.now();
    const stores = await this.#open();
    this.#stores = stores;
    const { floor } = stores;
    let newest = parseId(floor) ?? { time: 0, sequence: 0 };
    let loaded = 0;
    for (const { key, value } of stores.entries.getRange({ snapshot: false })) {
      newest = { time: key[0], sequence: key[1] };
      const entry = entryOf(newest, value);
      this.#bytes += weigh(entry.notification);
      follower.deliver(entry);
      if (++loaded % LOAD_STEP === 0) await turnEnd();
    }
    this.#ids = new IdClock(this.#now, newest);
    this.#follower = follower;
    this.#available = true;
    this.#trimTimer = setInterval(() => void this.trim(), TRIM_INTERVAL_MS);
    this.#trimTimer.unref();
    const milliseconds = Math.round(performance.now() - started);
    this.#log.info(
      { directory: this.#directory, entries: loaded, bytes: this.#bytes, milliseconds },
      'journal loaded',
    );
    return floor;
  }

  status() {
    return { available: this.#available, lagMs: 0 };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#trimTimer);
    clearInterval(this.#probeTimer);
    clearTimeout(this.#sealTimer);
    const stores = this.#stores;
    this.#stores = undefined;
    this.#available = false;
    if (stores === undefined) return;
    // The last group waits for those before it.
    await this.#committing;
    await this.#trimming;
    try {
      await stores.root.close();
    } finally {
      await stores.lock.release();
    }
  }

  async #open(): Promise<Stores> {
    const lock = await this.#lock();
    const path = this.#path;
    let root: RootDatabase | undefined;
    try {
      if (!(await canBeOpened(path, DATABASES))) throw new Error('its contents cannot be read or made');
      root = open({ path, maxDbs: DATABASES.length, ...COMMITS });
      const meta = root.openDB<Id, string>({ name: 'meta' });
      return {
        root,
        lock,
        meta,
        entries: root.openDB<Stored, EntryKey>({ name: 'entries' }),
        keys: root.openDB<Id, string>({ name: 'keys' }),
        floor: meta.get('floor') ?? (await this.#firstFloor(meta)),
        inode: await inodeOf(path),
      };
    } catch (error) {
      await root?.close();
      await lock.release();
      const cause = await commitError(error);
      throw new StartError(
        `The journal ${path} cannot be opened: ${reasonOf(cause)}. If the disk is full, make room. If the file is damaged, move it away; a new one will be made, and clients will be told that their past is gone.`,
        { cause },
      );
    }
  }

  /** A journal begins when it is made: ids of one that was here before are told apart. */
  async #firstFloor(meta: Database<Id, string>): Promise<Id> {
    const floor = formatId({ time: this.#now(), sequence: 0 });
    await meta.put('floor', floor);
    return floor;
  }

  async #lock(): Promise<Lock> {
    try {
      await mkdir(this.#directory, { recursive: true });
      return await lockDirectory(this.#directory);
    } catch (cause) {
      // What the system refused has a code; what the lock says of itself has none.
      const isRefusal = typeof cause === 'object' && cause !== null && 'code' in cause;
      if (!isRefusal) throw cause;
      throw new StartError(
        `The directory ${this.#directory} cannot be written (${reasonOf(cause)}); give this user the right to, or choose another DATA_DIR.`,
        { cause },
      );
    }
  }

  #firstWith({ keys }: Stores, key: string): { id: Id; committed: Promise<void> } | undefined {
    const pending = this.#pendingKeys.get(key);
    if (pending !== undefined) return pending;
    const id = keys.get(key);
    return id === undefined ? undefined : { id, committed: Promise.resolve() };
  }

  #newGroup(stores: Stores): Group {
    const entries: Entry[] = [];
    const reached: number[] = [];
    const previous = this.#committing;
    const committed = (async () => {
      await previous;
      await this.#gathering.settled(entries);
      this.#group = undefined;
      await this.#commit(stores, entries);
      for (const entry of entries) reached.push(this.#deliverCommitted(entry));
    })();
    this.#committing = committed.catch(() => undefined);
    return { entries, reached, committed };
  }

  async #commit({ root, entries: store, keys }: Stores, entries: Entry[]): Promise<void> {
    try {
      await root.batch(() => {
        for (const { time, sequence, id, notification } of entries) {
          void store.put([time, sequence], storedOf(notification));
          if (notification.key !== undefined) void keys.put(notification.key, id);
        }
      });
    } catch (error) {
      this.#fail(await commitError(error));
      throw refusal(error);
    } finally {
      for (const { notification } of entries)
        if (notification.key !== undefined) this.#pendingKeys.delete(notification.key);
    }
    this.#sealTimer ??= setTimeout(() => void this.#seal(), SEAL_AFTER_MS).unref();
  }

  /**
   * One more commit behind the last, so that a power failure in a quiet moment does not undo that one. It writes
   * what the probe writes, and nobody reads it.
   */
  async #seal(): Promise<void> {
    this.#sealTimer = undefined;
    if (this.#group !== undefined) return;
    await this.#stores?.meta
      .put('probe', formatId({ time: this.#now(), sequence: 0 }))
      .catch(async (error: unknown) => this.#fail(await commitError(error)));
  }

  /** It is in the journal whatever happens now, and those behind it must not wait. */
  #deliverCommitted(entry: Entry): number {
    this.#bytes += weigh(entry.notification);
    try {
      return this.#follower?.deliver(entry) ?? 0;
    } catch (error) {
      this.#log.error({ err: error, id: entry.id }, 'a notification could not be delivered');
      return 0;
    }
  }

  /** Takes nothing more until a write goes through again, which is tried every second. */
  #fail(error: unknown): void {
    if (!this.#available) return;
    this.#available = false;
    this.#log.error(
      { reason: reasonOf(error) },
      'the journal cannot write; notifications are refused until it can',
    );
    this.#probeTimer = setInterval(() => void this.#probe(), PROBE_INTERVAL_MS);
    this.#probeTimer.unref();
  }

  async #probe(): Promise<void> {
    const { meta } = this.#stores ?? {};
    if (meta === undefined || this.#available) return;
    try {
      await this.#checkFile();
      await meta.put('probe', formatId({ time: this.#now(), sequence: 0 }));
    } catch (error) {
      // Said once already, in #fail: it still cannot.
      await commitError(error);
      return;
    }
    clearInterval(this.#probeTimer);
    this.#available = true;
    this.#log.info('the journal can write again');
  }

  /** Drops what the retention does not hold, in steps that each are one commit. Happens every second by itself. */
  trim(): Promise<void> {
    this.#trimming ??= this.#trimAll()
      .catch(async error => this.#fail(await commitError(error)))
      .finally(() => {
        this.#trimming = undefined;
      });
    return this.#trimming;
  }

  async #trimAll(): Promise<void> {
    await this.#checkFile();
    for (let stores = this.#stores; stores !== undefined; stores = this.#stores) {
      const { root, entries, keys, meta } = stores;
      const { doomed, bytes } = this.#doomed(stores);
      const last = doomed.at(-1);
      if (last === undefined) return;
      await root.batch(() => {
        for (const { time, sequence, id, notification } of doomed) {
          void entries.remove([time, sequence]);
          const { key } = notification;
          if (key !== undefined && keys.get(key) === id) void keys.remove(key);
        }
        void meta.put('floor', last.id);
      });
      this.#bytes -= bytes;
    }
  }

  /** LMDB would go on writing into a file that was removed, and what it took be gone at the next start. */
  async #checkFile(): Promise<void> {
    if (this.#stores === undefined) return;
    const inode = await inodeOf(this.#path);
    if (inode !== this.#stores.inode)
      throw new Error(`${this.#path} was removed or replaced while in use; restart the server`);
  }

  #doomed(stores: Stores): { doomed: Entry[]; bytes: number } {
    const oldest = this.#now() - this.#retention.seconds * 1000;
    const doomed: Entry[] = [];
    let bytes = 0;
    for (const { key, value } of stores.entries.getRange({ limit: TRIM_STEP })) {
      if (key[0] >= oldest && this.#bytes - bytes <= this.#retention.bytes) break;
      const entry = entryOf({ time: key[0], sequence: key[1] }, value);
      bytes += weigh(entry.notification);
      doomed.push(entry);
    }
    return { doomed, bytes };
  }
}

/** What lmdb says behind "Commit failed (see commitError for details)". */
async function commitError(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error;
  return Promise.resolve(error.commitError).catch((cause: unknown) => cause);
}

function storedOf(notification: Notification): Stored {
  const { addresses, event, data, except, key, ttl } = notification;
  return [addresses, event, data, except, key ?? null, ttl ?? null];
}

function entryOf(moment: Moment, [addresses, event, data, except, key, ttl]: Stored): Entry {
  const notification = { addresses, event, data, except, key: key ?? undefined, ttl: ttl ?? undefined };
  return { ...moment, id: formatId(moment), notification };
}

/** Undefined where there is no such file. */
async function inodeOf(path: string): Promise<bigint | undefined> {
  return stat(path, { bigint: true }).then(
    ({ ino }) => ino,
    () => undefined,
  );
}

function refusal(cause?: unknown): Problem {
  return unavailable(
    'The journal cannot write at the moment, so nothing was accepted; try again.',
    RETRY_AFTER_SECONDS,
    cause,
  );
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
