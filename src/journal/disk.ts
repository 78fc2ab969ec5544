import { mkdir, stat } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { Clock } from '../model/clock.js';
import { formatId, type Id, IdClock, type Moment, parseId } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';
import { type Problem, unavailable } from '../model/problem.js';
import { reasonOf } from '../model/reason.js';
import { type Retention, weigh } from '../model/retention.js';
import { StartError } from '../model/start-error.js';
import { inTurns } from '../model/turns.js';
import { type EntryKey, openTables, renewFile, type Tables } from './disk-file.js';
import { type DiskRecord, openId, readRecord, recordBytes, sealedId } from './disk-record.js';
import { requireSameTarget, type Target } from './duplicate.js';
import { Gathering, turnEnd } from './gathering.js';
import type { Appended, Follower, Journal } from './journal.js';
import { type Lock, lockDirectory } from './lock.js';

const TRIM_INTERVAL_MS = 1000;
// Entries trimmed in one go, and loaded before others get their turn: a few milliseconds' worth.
const TRIM_STEP = 500;
const LOAD_STEP = 2000;
const SEAL_AFTER_MS = 20;
const PROBE_INTERVAL_MS = 1000;
const RETRY_AFTER_SECONDS = 2;
// Entries, and bytes, committed in one go: nothing else happens in this process meanwhile.
const MAX_GROUP = 500;
const MAX_GROUP_BYTES = 1024 * 1024;

const FILE_NAME = 'journal.lmdb';

interface Stores extends Tables {
  /** The newest trimmed id when it was opened. */
  readonly floor: Id;
  readonly lock: Lock;
  /** Of the file that is open. */
  readonly inode: bigint | undefined;
}

/** What is committed together. */
interface Group {
  readonly entries: Entry[];
  bytes: number;
  /** How many commits had failed when it began. */
  readonly failures: number;
  /** For each of them, once it is delivered, how many connections it was written to. */
  readonly reached: number[];
  /** Resolves when all are delivered. */
  committed: Promise<void>;
}

/** The notification that a key stands for. */
interface First {
  readonly id: Id;
  readonly target: Target;
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
  readonly #clock: Clock;
  readonly #stopping: AbortSignal;
  readonly #log: Logger;
  #stores: Stores | undefined;
  #ids: IdClock;
  #follower: Follower | undefined;
  #group: Group | undefined;
  readonly #gathering = new Gathering();
  #committing: Promise<void> = Promise.resolve();
  /** Keys whose entry is not delivered yet. */
  readonly #pendingKeys = new Map<string, First>();
  /** The newest entry in the file, or the newest that was trimmed. */
  #stored: Id = '0-0';
  #bytes = 0;
  /** Commits that failed. */
  #failures = 0;
  #available = false;
  #trimTimer: NodeJS.Timeout | undefined;
  #probeTimer: NodeJS.Timeout | undefined;
  #sealTimer: NodeJS.Timeout | undefined;
  #trimming: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  /**
   * @param directory is made if it is not there
   * @param stopping aborted when the server is to stop, also while it still starts
   */
  constructor(
    directory: string,
    retention: Retention,
    clock: Clock,
    log: Logger,
    stopping: AbortSignal = new AbortController().signal,
  ) {
    this.#stopping = stopping;
    this.#directory = directory;
    this.#path = `${directory}/${FILE_NAME}`;
    this.#retention = retention;
    this.#clock = clock;
    this.#log = log;
    this.#ids = new IdClock(clock, { time: 0, sequence: 0 });
  }

  async append(notification: Notification): Promise<Appended> {
    if (this.#stores === undefined || !this.#available) throw refusal();
    const { key } = notification;
    const first = key === undefined ? undefined : this.#firstWith(this.#stores, key);
    if (first !== undefined) {
      requireSameTarget(notification, first.target, first.id);
      await first.committed;
      return { id: first.id, duplicate: true, connections: 0, partial: false };
    }
    this.#group ??= this.#newGroup(this.#stores);
    const { entries, reached, committed } = this.#group;
    const moment = this.#ids.next();
    const id = formatId(moment);
    const place = entries.push({ time: moment.time, sequence: moment.sequence, id, notification }) - 1;
    this.#group.bytes += weigh(notification);
    if (key !== undefined) this.#pendingKeys.set(key, { id, target: notification, committed });
    if (entries.length >= MAX_GROUP || this.#group.bytes >= MAX_GROUP_BYTES) this.#group = undefined;
    await committed;
    return { id, duplicate: false, connections: reached[place] ?? 0, partial: false };
  }

  async follow(follower: Follower): Promise<Id> {
    const started = performance.now();
    const stores = await this.#open();
    this.#stores = stores;
    const { floor } = stores;
    let newest = momentOf(floor);
    let loaded = 0;
    for (const { key, value } of stores.records.getRange({ snapshot: false })) {
      const { entry } = this.#record(key, value);
      newest = entry;
      this.#bytes += weigh(entry.notification);
      follower.deliver(entry);
      if (++loaded % LOAD_STEP === 0) await turnEnd();
    }
    this.#stored = formatId(newest);
    this.#ids = new IdClock(this.#clock, newest);
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

  now(): number {
    return this.#ids.now();
  }

  async newest(): Promise<Id> {
    return this.#stored;
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
    let tables: Tables | undefined;
    try {
      // A journal begins when it is made: ids of one that was here before are told apart.
      await renewFile(this.#path, formatId({ time: this.#clock.now(), sequence: 0 }), this.#stopping);
      tables = openTables(this.#path);
      const floor = openId(tables.meta.get('floor') ?? '');
      return { ...tables, lock, floor, inode: await inodeOf(this.#path) };
    } catch (error) {
      await tables?.root.close();
      await lock.release();
      if (this.#stopping.aborted)
        throw new StartError('Postroom was told to stop while it opened its journal.');
      throw this.#cannotOpen(await commitError(error));
    }
  }

  #cannotOpen(cause: unknown): StartError {
    return new StartError(
      `The journal ${this.#path} cannot be opened: ${reasonOf(cause)}. If the disk is full, make room. If the file is damaged, move it away; a new one will be made, and clients will be told that their past is gone.`,
      { cause },
    );
  }

  #record([time, sequence]: EntryKey, bytes: Buffer): DiskRecord {
    try {
      return readRecord({ time, sequence }, bytes);
    } catch (error) {
      throw this.#cannotOpen(error);
    }
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

  #firstWith({ keys, records }: Stores, key: string): First | undefined {
    const pending = this.#pendingKeys.get(key);
    if (pending !== undefined) return pending;
    const id = keys.get(key);
    if (id === undefined) return undefined;
    const moment = momentOf(id);
    const bytes = records.get([moment.time, moment.sequence]);
    if (bytes === undefined) return undefined;
    return { id, target: readRecord(moment, bytes).entry.notification, committed: Promise.resolve() };
  }

  #newGroup(stores: Stores): Group {
    const failures = this.#failures;
    const group: Group = { entries: [], bytes: 0, failures, reached: [], committed: Promise.resolve() };
    group.committed = this.#commitAndDeliver(stores, group, this.#committing);
    this.#committing = group.committed.catch(() => undefined);
    return group;
  }

  /** @param previous resolves when the group before it is done */
  async #commitAndDeliver(stores: Stores, group: Group, previous: Promise<void>): Promise<void> {
    const { entries, reached } = group;
    await previous;
    if (this.#group === group) await this.#gathering.settled(entries);
    if (this.#group === group) this.#group = undefined;
    try {
      // What was behind one that failed must not go before it when that is tried again.
      if (this.#failures !== group.failures) throw refusal();
      await this.#commit(stores, entries);
      await inTurns(entries, entry => reached.push(this.#deliverCommitted(entry)));
    } finally {
      for (const { notification } of entries)
        if (notification.key !== undefined) this.#pendingKeys.delete(notification.key);
    }
  }

  async #commit({ root, records, keys, meta }: Stores, entries: Entry[]): Promise<void> {
    let previous = this.#stored;
    try {
      await root.batch(() => {
        for (const { time, sequence, id, notification } of entries) {
          void records.put([time, sequence], recordBytes(id, notification, previous));
          if (notification.key !== undefined) void keys.put(notification.key, id);
          previous = id;
        }
        void meta.put('newest', sealedId(previous));
      });
    } catch (error) {
      this.#failures++;
      this.#fail(await commitError(error));
      throw refusal(error);
    }
    this.#stored = previous;
    this.#sealTimer ??= setTimeout(() => void this.#seal(), SEAL_AFTER_MS).unref();
  }

  /**
   * One more commit behind the last, so that a power failure in a quiet moment does not undo that one. It writes
   * what the probe writes, and nobody reads it.
   */
  async #seal(): Promise<void> {
    this.#sealTimer = undefined;
    if (this.#group !== undefined || this.#stores === undefined) return;
    await this.#touch(this.#stores).catch(async (error: unknown) => this.#fail(await commitError(error)));
  }

  /** Writes something that nobody reads. Rejects where nothing can be written. */
  async #touch({ meta }: Stores): Promise<void> {
    await meta.put('probe', String(this.now()));
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
    if (this.#stores === undefined || this.#available) return;
    try {
      await this.#checkFile();
      await this.#touch(this.#stores);
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
      const { root, records, keys, meta } = stores;
      const { doomed, bytes } = this.#doomed(stores);
      const last = doomed.at(-1);
      if (last === undefined) return;
      await root.batch(() => {
        for (const { time, sequence, id, notification } of doomed) {
          void records.remove([time, sequence]);
          const { key } = notification;
          if (key !== undefined && keys.get(key) === id) void keys.remove(key);
        }
        void meta.put('floor', sealedId(last.id));
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
    const oldest = this.now() - this.#retention.seconds * 1000;
    const doomed: Entry[] = [];
    let bytes = 0;
    for (const { key, value } of stores.records.getRange({ limit: TRIM_STEP })) {
      if (key[0] >= oldest && this.#bytes - bytes <= this.#retention.bytes) break;
      if (bytes >= MAX_GROUP_BYTES) break;
      const { entry } = readRecord({ time: key[0], sequence: key[1] }, value);
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

function momentOf(id: Id): Moment {
  const moment = parseId(id);
  if (moment === undefined) throw new Error(`${id} is no id`);
  return moment;
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
