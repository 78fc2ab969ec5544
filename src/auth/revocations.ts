import type { After } from '../model/clock.js';
import { reasonOf } from '../model/reason.js';
import { StartError } from '../model/start-error.js';
import { sortableTime } from '../model/sortable-ids.js';
import { pagesOf, type Store } from '../storage/store.js';
import type { Identity } from './identity.js';

const PAGE = 1000;
const POLL_MS = 5000;
// The clocks of nodes may differ. Records of so much time are read again.
const CLOCK_DIFFERENCE_MS = 60_000;
const FORGET_EVERY_MS = 3_600_000;

/** All tokens of a user that were issued before this moment. */
export interface Revocation {
  readonly user: string;
  /** Milliseconds since the epoch. */
  readonly before: number;
}

/**
 * Tokens that are refused before they have expired. A revocation is durable, and it is forgotten when the last token
 * that it could concern has expired.
 */
export class Revocations {
  readonly #open: () => Store<Revocation>;
  readonly #isShared: boolean;
  readonly #lifetimeMs: number;
  readonly #now: () => number;
  readonly #after: After;
  readonly #revokedElsewhere: (user: string) => void;
  readonly #failed: (error: unknown) => void;
  /** The last revocation of each user, in milliseconds since the epoch. */
  readonly #revoked = new Map<string, number>();
  #store: Store<Revocation> | undefined;
  /** Records up to this moment are known. */
  #readUntil = 0;
  #forgottenAt = 0;
  #stopPolling: (() => void) | undefined;
  #isFailing = false;
  #isStopped = false;

  constructor(options: {
    /** Opens the store, which must have started. */
    open: () => Store<Revocation>;
    /** Whether other nodes write to the store. */
    isShared: boolean;
    /** How long a token can be valid, in seconds. */
    lifetimeSeconds: number;
    /** Milliseconds since the epoch. */
    now: () => number;
    after: After;
    /** Told of a user whose tokens another node has revoked, if this node reads it only from the store. */
    revoked: (user: string) => void;
    /** Told once of reads that fail. They are tried again. */
    failed: (error: unknown) => void;
  }) {
    this.#open = options.open;
    this.#isShared = options.isShared;
    this.#lifetimeMs = options.lifetimeSeconds * 1000;
    this.#now = options.now;
    this.#after = options.after;
    this.#revokedElsewhere = options.revoked;
    this.#failed = options.failed;
  }

  /** How many users have revoked tokens. */
  get size(): number {
    return this.#revoked.size;
  }

  /** Reads all revocations. Rejects with a StartError if it cannot. */
  async start(): Promise<void> {
    try {
      await this.#read();
      await this.#forget();
    } catch (error) {
      const hint = this.#isShared ? ' Which rights the user of Redis needs: docs/scaling.md, ACL.' : '';
      throw new StartError(`The revoked tokens cannot be read: ${reasonOf(error)}.${hint}`, { cause: error });
    }
    this.#poll();
  }

  stop(): void {
    this.#isStopped = true;
    this.#stopPolling?.();
  }

  /** Whether a token is revoked. One without `iat` counts as old. */
  isRevoked({ user, issuedAt = 0 }: Identity): boolean {
    const before = user === undefined ? undefined : this.#revoked.get(user);
    // Whole seconds: a backend that revokes a user's tokens often makes a new one in the same second.
    return before !== undefined && Math.floor(issuedAt) < Math.floor(before / 1000);
  }

  /** When the tokens of a user were revoked last, in milliseconds since the epoch; undefined: never. */
  revokedAt(user: string): number | undefined {
    return this.#revoked.get(user);
  }

  /** Revokes all tokens of a user that were issued up to now. Resolves when that is durable; other nodes must learn it. */
  async revoke(user: string): Promise<Revocation> {
    const revocation = { user, before: this.#now() };
    const earlier = this.#revoked.get(user);
    await this.#opened.put(keyOf(revocation.before, user), revocation);
    this.learn(revocation);
    // The new record says all that the earlier one said.
    if (earlier !== undefined && earlier < revocation.before) await this.#opened.remove(keyOf(earlier, user));
    return revocation;
  }

  /** Refuses tokens that another node has revoked. Returns whether that was news. */
  learn({ user, before }: Revocation): boolean {
    if (before <= (this.#revoked.get(user) ?? 0)) return false;
    this.#revoked.set(user, before);
    return true;
  }

  get #opened(): Store<Revocation> {
    this.#store ??= this.#open();
    return this.#store;
  }

  /** Reads what other nodes have written: their messages can get lost. */
  #poll(): void {
    if (this.#isStopped) return;
    const next = this.#isShared ? POLL_MS : FORGET_EVERY_MS;
    this.#stopPolling = this.#after(next, async () => {
      try {
        if (this.#isShared) {
          await this.#restore();
          await this.#read();
        }
        if (this.#now() - this.#forgottenAt >= FORGET_EVERY_MS) await this.#forget();
        this.#isFailing = false;
      } catch (error) {
        if (!this.#isStopped && !this.#isFailing) this.#failed(error);
        this.#isFailing = true;
      }
      this.#poll();
    });
  }

  /** Writes everything again if the store has lost the newest: Redis may have started without its data. */
  async #restore(): Promise<void> {
    let newest: Revocation | undefined;
    for (const [user, before] of this.#revoked)
      if (newest === undefined || before > newest.before) newest = { user, before };
    if (newest === undefined || (await this.#opened.get(keyOf(newest.before, newest.user)))) return;
    for (const [user, before] of this.#revoked) await this.#opened.put(keyOf(before, user), { user, before });
  }

  async #read(): Promise<void> {
    const now = this.#now();
    const from = keyOf(Math.max(0, this.#readUntil - CLOCK_DIFFERENCE_MS), '');
    for await (const records of pagesOf(this.#opened, from, keyOf(Number.MAX_SAFE_INTEGER, ''), PAGE))
      for (const [, revocation] of records)
        if (this.learn(revocation)) this.#revokedElsewhere(revocation.user);
    this.#readUntil = now;
  }

  /** Forgets what concerns only expired tokens. */
  async #forget(): Promise<void> {
    const now = this.#now();
    const oldest = now - this.#lifetimeMs;
    for await (const records of pagesOf(this.#opened, '', keyOf(Math.max(0, oldest), ''), PAGE))
      await Promise.all(records.map(([key]) => this.#opened.remove(key)));
    for (const [user, before] of this.#revoked) if (before < oldest) this.#revoked.delete(user);
    this.#forgottenAt = now;
  }
}

/** Orders the records by time. */
function keyOf(before: number, user: string): string {
  return `${sortableTime(before)} ${user}`;
}
