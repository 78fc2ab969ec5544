import { nextTurn } from '../model/turns.js';

const LONGEST_WAIT_MS = 1;

export interface GroupCommitOptions<T, R> {
  /** A group with so many items, or bytes, takes no more. */
  readonly maxItems: number;
  readonly maxBytes: number;
  /** Commits a group; resolves to the result of each item, in order. */
  readonly commit: (items: readonly T[]) => Promise<readonly R[]>;
}

interface Group<T, R> {
  readonly items: T[];
  bytes: number;
  readonly results: Promise<readonly R[]>;
}

/**
 * Commits many items at once: one commit at a time, in order. Items that are added during a commit go into the next
 * one. If a commit fails, the groups after it fail too: an item that is tried again must not come after them.
 */
export class GroupCommit<T, R> {
  readonly #options: GroupCommitOptions<T, R>;
  /** The group that takes items. */
  #group: Group<T, R> | undefined;
  /** Resolves when the newest group is done. */
  #last: Promise<unknown> = Promise.resolve();
  #failures = 0;
  #failure: unknown;
  #lastSize = 0;

  constructor(options: GroupCommitOptions<T, R>) {
    this.#options = options;
  }

  /** Whether items wait for the commit that is under way. */
  get isWaiting(): boolean {
    return this.#group !== undefined;
  }

  /** Resolves to the item's result when it is committed; rejects with the error of the commit. */
  async add(item: T, bytes: number): Promise<R> {
    const { maxItems, maxBytes } = this.#options;
    this.#group ??= this.#newGroup();
    const group = this.#group;
    const index = group.items.push(item) - 1;
    group.bytes += bytes;
    if (group.items.length >= maxItems || group.bytes >= maxBytes) this.#group = undefined;
    return (await group.results)[index] as R;
  }

  /** Resolves when everything that was added is committed, or has failed. */
  async idle(): Promise<void> {
    await this.#last;
  }

  #newGroup(): Group<T, R> {
    const items: T[] = [];
    const results = this.#commit(items, this.#last, this.#failures);
    this.#last = results.catch(() => undefined);
    return { items, bytes: 0, results };
  }

  async #commit(items: T[], previous: Promise<unknown>, failures: number): Promise<readonly R[]> {
    await previous;
    const isOpen = () => this.#group?.items === items;
    if (isOpen()) await this.#gathered(items);
    if (isOpen()) this.#group = undefined;
    if (this.#failures !== failures) throw this.#failure;
    try {
      return await this.#options.commit(items);
    } catch (error) {
      // Items that are added from now on are not behind it.
      this.#group = undefined;
      this.#failures++;
      this.#failure = error;
      throw error;
    }
  }

  /**
   * Publishers that were just answered come back one after another. Waiting for them saves commits. Resolves after a
   * turn that brought no more items, if there are as many as last time; after about a millisecond at the latest.
   */
  async #gathered(items: readonly T[]): Promise<void> {
    const deadline = performance.now() + LONGEST_WAIT_MS;
    // The waiting begins after this turn.
    await nextTurn();
    for (let size = 0; items.length > size || items.length < this.#lastSize; ) {
      size = items.length;
      await nextTurn();
      if (performance.now() > deadline) break;
    }
    this.#lastSize = items.length;
  }
}
