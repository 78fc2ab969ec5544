import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Clock } from '../model/clock.js';
import { weigh } from '../model/notification-codec.js';
import { formatId, type Id, IdClock, type Moment, momentOf } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';
import { type Problem, unavailable } from '../model/problem.js';
import { reasonOf } from '../model/reason.js';
import type { Retention } from '../model/retention.js';
import { StartError } from '../model/start-error.js';
import { inTurns, nextTurn } from '../model/turns.js';
import type { DataDirectory } from '../storage/directory.js';
import { GroupCommit } from '../storage/group-commit.js';
import { commitError } from '../storage/lmdb.js';
import { deliver } from './deliver.js';
import { DiskFile } from './disk-file.js';
import { requireSameTarget, type Target } from './key-reuse.js';
import type { Appended, Follower, Journal } from './journal.js';

const TRIM_INTERVAL_MS = 1000;
// Entries that are trimmed in one commit, or loaded before others get their turn: a few milliseconds.
const TRIM_STEP = 500;
const LOAD_STEP = 2000;
const SEAL_AFTER_MS = 20;
const PROBE_INTERVAL_MS = 1000;
const RETRY_AFTER_SECONDS = 2;
// The most entries and bytes of one commit: this process does nothing else meanwhile.
const MAX_GROUP = 500;
const MAX_GROUP_BYTES = 1024 * 1024;
// How long one turn of the event loop delivers. Each socket gets the entries of a turn in one write, so shorter turns
// would write more often.
const DELIVERY_MS = 20;

const FILE_NAME = 'journal.lmdb';

export interface DiskJournalOptions {
  readonly directory: DataDirectory;
  readonly retention: Retention;
  readonly clock: Clock;
  /** Aborted when the server stops, even while it still starts. */
  readonly stopping: AbortSignal;
  readonly log: Logger;
}

/** The first notification with a key. */
interface First {
  readonly id: Id;
  readonly target: Target;
  readonly committed: Promise<unknown>;
}

/** Keeps the past in LMDB, which survives kill -9. Delivers an entry only after it is committed. */
export class DiskJournal implements Journal {
  readonly kind = 'disk';
  readonly #options: DiskJournalOptions;
  readonly #path: string;
  readonly #log: Logger;
  readonly #commits: GroupCommit<Entry, undefined>;
  #file: DiskFile | undefined;
  #ids: IdClock;
  #follower: Follower | undefined;
  /** Keys whose entry is not delivered yet. */
  readonly #pendingKeys = new Map<string, First>();
  /** The newest entry in the file, or the newest that was trimmed. */
  #newest: Id = '0-0';
  /** The weight of the entries in the file, in bytes. */
  #bytes = 0;
  #available = false;
  #trimTimer: NodeJS.Timeout | undefined;
  #probeTimer: NodeJS.Timeout | undefined;
  #sealTimer: NodeJS.Timeout | undefined;
  #trimming: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: DiskJournalOptions) {
    this.#options = options;
    this.#path = join(options.directory.path, FILE_NAME);
    this.#log = options.log;
    this.#ids = new IdClock(options.clock, { time: 0, sequence: 0 });
    this.#commits = new GroupCommit({
      maxItems: MAX_GROUP,
      maxBytes: MAX_GROUP_BYTES,
      commit: entries => this.#commit(entries),
    });
  }

  async append(notification: Notification): Promise<Appended> {
    if (!this.#available) throw refusal();
    const first = this.#firstWith(notification);
    if (first !== undefined) {
      await first.committed;
      return { id: first.id, duplicate: true };
    }
    const { key } = notification;
    const { time, sequence } = this.#ids.next();
    const id = formatId({ time, sequence });
    const committed = this.#commits.add({ time, sequence, id, notification }, weigh(notification));
    if (key !== undefined) this.#pendingKeys.set(key, { id, target: notification, committed });
    try {
      await committed;
      return { id, duplicate: false };
    } finally {
      if (key !== undefined) this.#pendingKeys.delete(key);
    }
  }

  async follow(follower: Follower): Promise<Id> {
    const started = performance.now();
    const file = await this.#open();
    this.#file = file;
    let newest = momentOf(file.floor);
    let loaded = 0;
    for (const entry of this.#read(file)) {
      newest = entry;
      this.#bytes += weigh(entry.notification);
      follower.deliver(entry);
      if (++loaded % LOAD_STEP === 0) await nextTurn();
    }
    this.#begin(newest, follower);
    const milliseconds = Math.round(performance.now() - started);
    const { path } = this.#options.directory;
    this.#log.info({ directory: path, entries: loaded, bytes: this.#bytes, milliseconds }, 'journal loaded');
    return file.floor;
  }

  now(): number {
    return this.#ids.now();
  }

  async newest(): Promise<Id> {
    return this.#newest;
  }

  status() {
    return { available: this.#available, lagMs: 0 };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Drops entries beyond the retention, in steps of one commit each. Runs every second by itself. */
  trim(): Promise<void> {
    this.#trimming ??= this.#trimAll()
      .catch(async error => this.#fail(await commitError(error)))
      .finally(() => {
        this.#trimming = undefined;
      });
    return this.#trimming;
  }

  async #open(): Promise<DiskFile> {
    const { directory, clock, stopping } = this.#options;
    await directory.use();
    try {
      // A new journal begins now: so cursors of an earlier journal are older than its past.
      const floor = formatId({ time: clock.now(), sequence: 0 });
      return await DiskFile.open(this.#path, floor, stopping);
    } catch (error) {
      await directory.release();
      if (stopping.aborted) throw new StartError('Postroom was told to stop while it opened its journal.');
      throw this.#cannotOpen(await commitError(error));
    }
  }

  *#read(file: DiskFile): Generator<Entry> {
    try {
      yield* file.entries();
    } catch (error) {
      throw this.#cannotOpen(error);
    }
  }

  #cannotOpen(cause: unknown): StartError {
    return new StartError(
      `The journal ${this.#path} cannot be opened: ${reasonOf(cause)}. If the disk is full, make room. If the file is damaged, move it away; a new one will be made, and clients will be told that their past is gone.`,
      { cause },
    );
  }

  #begin(newest: Moment, follower: Follower): void {
    this.#newest = formatId(newest);
    this.#ids = new IdClock(this.#options.clock, newest);
    this.#follower = follower;
    this.#available = true;
    this.#trimTimer = setInterval(() => void this.trim(), TRIM_INTERVAL_MS);
    this.#trimTimer.unref();
  }

  async #close(): Promise<void> {
    clearInterval(this.#trimTimer);
    clearInterval(this.#probeTimer);
    this.#available = false;
    if (this.#file === undefined) return;
    await this.#commits.idle();
    await this.#trimming;
    clearTimeout(this.#sealTimer);
    if (this.#sealTimer !== undefined) await this.#writeProbe();
    const file = this.#file;
    this.#file = undefined;
    try {
      await file.close();
    } finally {
      await this.#options.directory.release();
    }
  }

  async firstWith(notification: Notification): Promise<Id | undefined> {
    const first = this.#firstWith(notification);
    await first?.committed;
    return first?.id;
  }

  /** The first notification with the same key. Throws a Problem if that was another one, or the journal is not open. */
  #firstWith(notification: Notification): First | undefined {
    if (this.#file === undefined) throw refusal();
    const { key } = notification;
    if (key === undefined) return undefined;
    const found = this.#file.find(key);
    const first = this.#pendingKeys.get(key) ?? (found && { ...found, committed: Promise.resolve() });
    if (first !== undefined) requireSameTarget(notification, first.target, first.id);
    return first;
  }

  async #commit(entries: readonly Entry[]): Promise<undefined[]> {
    try {
      if (this.#file === undefined) throw new Error('the journal is not open');
      await this.#file.append(entries, this.#newest);
    } catch (error) {
      this.#fail(await commitError(error));
      throw refusal(error);
    }
    this.#newest = entries.at(-1)?.id ?? this.#newest;
    this.#sealTimer ??= setTimeout(() => void this.#seal(), SEAL_AFTER_MS).unref();
    const deliverOne = (entry: Entry) => {
      this.#bytes += weigh(entry.notification);
      deliver(this.#follower, entry, this.#log);
    };
    await inTurns(entries, deliverOne, DELIVERY_MS);
    return entries.map(() => undefined);
  }

  /**
   * Makes one more commit after the last one. Otherwise a power failure in a quiet moment could undo the last one. It
   * writes the probe, which nobody reads.
   */
  async #seal(): Promise<void> {
    this.#sealTimer = undefined;
    if (this.#commits.isWaiting || this.#closing !== undefined) return;
    await this.#writeProbe();
  }

  async #writeProbe(): Promise<void> {
    await this.#probeFile().catch(async (error: unknown) => this.#fail(await commitError(error)));
  }

  async #probeFile(): Promise<void> {
    await this.#file?.probe(String(this.now()));
  }

  /** Refuses notifications until a write works again. This is tried every second. */
  #fail(error: unknown): void {
    if (!this.#available) return;
    this.#available = false;
    this.#log.error(
      { reason: reasonOf(error) },
      'the journal cannot write; notifications are refused until it can',
    );
    this.#probeTimer = setInterval(() => void this.#tryAgain(), PROBE_INTERVAL_MS);
    this.#probeTimer.unref();
  }

  async #tryAgain(): Promise<void> {
    if (this.#closing !== undefined || this.#available) return;
    try {
      await this.#file?.check();
      await this.#probeFile();
    } catch (error) {
      // #fail has logged it already. Without this, an unhandled rejection would end the process.
      await commitError(error);
      return;
    }
    clearInterval(this.#probeTimer);
    this.#available = true;
    this.#log.info('the journal can write again');
  }

  async #trimAll(): Promise<void> {
    const file = this.#file;
    await file?.check();
    while (file !== undefined && this.#closing === undefined) {
      const doomed = this.#doomed(file);
      if (doomed.length === 0) return;
      const removed = await file.remove(doomed);
      // Only now: entries were added meanwhile.
      this.#bytes -= removed;
    }
  }

  /** The oldest entries beyond the retention, as many as one commit takes. */
  #doomed(file: DiskFile): Entry[] {
    const { seconds, bytes: limit } = this.#options.retention;
    const oldest = this.now() - seconds * 1000;
    const doomed: Entry[] = [];
    let bytes = 0;
    for (const entry of file.entries(TRIM_STEP)) {
      if (entry.time >= oldest && this.#bytes - bytes <= limit) break;
      if (bytes >= MAX_GROUP_BYTES) break;
      bytes += weigh(entry.notification);
      doomed.push(entry);
    }
    return doomed;
  }
}

function refusal(cause?: unknown): Problem {
  return unavailable(
    'The journal cannot write at the moment, so nothing was accepted; try again.',
    RETRY_AFTER_SECONDS,
    cause,
  );
}
