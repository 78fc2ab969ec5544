import sortedBTree from 'sorted-btree';
import { inTurns } from '../model/turns.js';

const { default: BTree } = sortedBTree;
// An index that nobody asks for is given up after this time.
const KEPT_MS = 60_000;

/**
 * Names in order, for lists in pages. It is made when somebody asks for it, in as many turns of the event loop as
 * needed, and kept as long as somebody asks. While nobody does, it costs nothing.
 */
export class NameIndex {
  readonly #names: () => Iterable<string>;
  #tree: InstanceType<typeof BTree<string, undefined>> | undefined;
  #isMade: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param names all names there are, in any order, also while they change */
  constructor(names: () => Iterable<string>) {
    this.#names = names;
  }

  /** Call this for each new name. */
  added(name: string): void {
    this.#tree?.set(name, undefined);
  }

  /** Call this for each name that is gone. */
  removed(name: string): void {
    this.#tree?.delete(name);
  }

  /** All names are gone. */
  cleared(): void {
    this.#tree?.clear();
  }

  /** The first names that begin with `prefix`, behind the name `after`; at most so many. */
  async first(prefix: string, after: string, limit: number): Promise<string[]> {
    const tree = await this.#made();
    const names: string[] = [];
    // A name that begins with the prefix is never before it.
    for (const name of tree.keys(after > prefix ? after : prefix)) {
      if (!name.startsWith(prefix)) break;
      if (name === after) continue;
      if (names.push(name) >= limit) break;
    }
    return names;
  }

  async #made() {
    const tree = this.#tree ?? new BTree<string, undefined>();
    this.#tree = tree;
    // Names that come and go meanwhile are added and removed as well.
    this.#isMade ??= inTurns(this.#names(), name => void tree.set(name, undefined));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#tree = undefined;
      this.#isMade = undefined;
    }, KEPT_MS).unref();
    await this.#isMade;
    return tree;
  }
}
