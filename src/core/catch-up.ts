import type { Journal } from '../journal/journal.js';
import { compareMoments, type Moment, parseId } from '../model/id.js';
import type { Window } from './window.js';

// Nodes are seldom further behind. A page should not wait longer.
const LONGEST_WAIT_MS = 2000;

interface Waiting {
  readonly moment: Moment;
  readonly done: () => void;
}

/** A client may bring a cursor from a node that is ahead of this one. Then it waits until this node has caught up. */
export class CatchUp {
  readonly #journal: Journal;
  readonly #window: Window;
  readonly #waiting = new Set<Waiting>();

  constructor(journal: Journal, window: Window) {
    this.#journal = journal;
    this.#window = window;
  }

  /** Resolves when this node has caught up with a cursor, after two seconds, or if no node ever gave this cursor. */
  async wait(cursor: string): Promise<void> {
    const moment = parseId(cursor);
    if (moment === undefined) return;
    await new Promise<void>(resolve => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(waiting);
        resolve();
      };
      const timer = setTimeout(done, LONGEST_WAIT_MS);
      const waiting = { moment, done };
      this.#waiting.add(waiting);
      this.#journal.newest().then(
        newest => {
          const last = parseId(newest);
          if (!this.#window.isAhead(cursor) || (last && compareMoments(moment, last) > 0)) done();
        },
        // If the journal cannot be asked, the entry may still come.
        () => undefined,
      );
    });
  }

  /** Call this when an entry was delivered: clients that wait for it, or for an older one, go on. */
  delivered(entry: Moment): void {
    for (const { moment, done } of this.#waiting) if (compareMoments(moment, entry) <= 0) done();
  }
}
