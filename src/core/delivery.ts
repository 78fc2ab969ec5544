import type { Follower } from '../journal/journal.js';
import type { Id } from '../model/id.js';
import type { Entry } from '../model/notification.js';
import { inTurns } from '../model/turns.js';
import type { CatchUp } from './catch-up.js';
import type { Connections } from './connections.js';
import type { Counts } from './counts.js';
import type { Deadlines } from './receipts/deadlines.js';
import type { Receipts } from './receipts/receipts.js';
import type { Window } from './window.js';

/** What delivering needs. */
export interface DeliveryParts {
  readonly window: Window;
  readonly connections: Connections;
  readonly counts: Counts;
  readonly receipts: Receipts;
  readonly deadlines: Deadlines;
  readonly catchUp: CatchUp;
}

/** Follows the journal: puts each entry into the window, and hands it to those whom it is addressed to. */
export class Delivery implements Follower {
  readonly #parts: DeliveryParts;
  /** Whether the past is in the window. Later entries are new. */
  #isLoaded = false;

  constructor(parts: DeliveryParts) {
    this.#parts = parts;
  }

  /** The past was delivered, from the entry after this id on. */
  loaded(past: Id): void {
    this.#parts.window.beginAfter(past);
    this.#isLoaded = true;
  }

  deliver(entry: Entry): void {
    const { window, connections, counts, receipts, deadlines, catchUp } = this.#parts;
    const position = window.add(entry);
    deadlines.add(entry);
    const note = this.#isLoaded ? receipts.open(entry, position) : undefined;
    const reached = connections.hub.deliver(entry, position, note);
    window.setReached(position, reached);
    if (this.#isLoaded) counts.delivered(entry, reached);
    if (note !== undefined) receipts.delivered(entry);
    connections.coalescer.schedule();
    catchUp.delivered(entry);
  }

  /** No client of this node heard the skipped entries: all must load their state anew. */
  skipped(until: Id): void {
    const { window, connections } = this.#parts;
    window.forget(until);
    const all = connections.hub.takeAll();
    // Readers must not go on: before a client is closed, it must not hear anything after the gap.
    for (const connection of all) connection.reading = undefined;
    void inTurns(all, connection => connections.close(connection, 'fell_behind'));
  }

  /** Drops entries that are too old or too many. */
  trim(): void {
    const { window, connections, receipts } = this.#parts;
    // The rest is trimmed in the next turn.
    if (!window.trim()) connections.coalescer.schedule();
    receipts.forgetTrimmed();
  }
}
