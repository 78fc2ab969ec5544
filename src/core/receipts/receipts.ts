import { type Address, userOf } from '../../model/address.js';
import type { After } from '../../model/clock.js';
import type { Id } from '../../model/id.js';
import type { Entry } from '../../model/notification.js';
import type { Connection } from '../connection.js';
import type { Observer } from '../observer.js';
import type { Reader } from '../reader.js';
import type { Window } from '../window.js';
import type { Waits } from './waits.js';

// Memory of what is known of an acknowledgement, and of a user to whom a notification was addressed by name.
const ACKNOWLEDGEMENT_BYTES = 64;
const USER_BYTES = 200;

/** What this node knows of a user to whom a notification was addressed by name. */
export interface UserReceipt {
  /** Connections of the user that it was addressed to. */
  connections: number;
  /** Connections of the user that have acknowledged it. */
  acknowledged: number;
}

/** What this node knows of a notification that asks for acknowledgements. */
export interface LocalReceipt {
  readonly entry: Entry;
  readonly position: number;
  /** Connections that have acknowledged it. */
  readonly acknowledged: Set<string>;
  readonly addresses: ReadonlySet<Address>;
  /** The users to whom it was addressed by name. */
  readonly users: Map<string, UserReceipt>;
  /** Connections that it was addressed to and that have not acknowledged it, if somebody waits for them. */
  readonly pending: Set<Connection> | undefined;
  /** For whom it was missed, as this node has told. */
  readonly missed: { readonly user: string | null; readonly at: number }[];
}

/** Why a user has a notification or not, as one node sees it. The later ones say more. */
export const STATES = [
  'unknown',
  'not_connected',
  'not_in_room',
  'expired',
  'excepted',
  'reading',
  'delivered',
  'acknowledged',
] as const;

/** One of the states. */
export type State = (typeof STATES)[number];

/**
 * Who has acknowledged what, on this node. Only notifications that ask for it cost anything. What it knows of a
 * notification is forgotten together with it.
 */
export class Receipts implements Observer {
  readonly #window: Window;
  readonly #reader: Reader;
  readonly #waits: Waits;
  readonly #connectionsOf: (user: string) => Iterable<Connection>;
  readonly #after: After;
  readonly #receipts = new Map<Id, LocalReceipt>();
  /** Those that somebody waits for. */
  readonly #waited = new Set<LocalReceipt>();
  /** Told of each first acknowledgement of a connection. */
  readonly #observers: ((receipt: LocalReceipt, connection: Connection) => void)[] = [];

  constructor(parts: {
    window: Window;
    reader: Reader;
    waits: Waits;
    /** The open connections of a user. */
    connectionsOf: (user: string) => Iterable<Connection>;
    after: After;
  }) {
    this.#window = parts.window;
    this.#reader = parts.reader;
    this.#waits = parts.waits;
    this.#connectionsOf = parts.connectionsOf;
    this.#after = parts.after;
  }

  /** Calls `acknowledged` with each acknowledgement on this node. */
  watch(acknowledged: (receipt: LocalReceipt, connection: Connection) => void): void {
    this.#observers.push(acknowledged);
  }

  /** Begins to note whom an entry is addressed to. Undefined if it does not ask for acknowledgements. */
  open(entry: Entry, position: number): ((connection: Connection) => void) | undefined {
    if (entry.notification.ack === undefined) return undefined;
    const receipt = this.#receiptOf(entry, position);
    return connection => {
      receipt.pending?.add(connection);
      const user = connection.user === undefined ? undefined : receipt.users.get(connection.user);
      if (user !== undefined) user.connections++;
    };
  }

  /** Call this when an entry that was opened has been handed to all. */
  delivered({ id, notification }: Entry): void {
    const receipt = this.#receipts.get(id);
    if (receipt?.pending === undefined) return;
    this.#waited.add(receipt);
    this.#after(((notification.wait ?? 0) + 1) * 1000, () => {
      this.#waited.delete(receipt);
      receipt.pending?.clear();
    });
    this.#report(receipt);
  }

  /** A connection has acknowledged a notification. It counts once, and only if it was sent to that connection. */
  acknowledge(connection: Connection, id: string): void {
    const position = this.#window.positionOf(id);
    const entry = position === undefined ? undefined : this.#window.entryAt(position);
    if (position === undefined || entry?.notification.ack === undefined) return;
    const receipt = this.#receiptOf(entry, position);
    if (receipt.acknowledged.has(connection.id)) return;
    if (this.#stateOf(connection, entry, position, receipt) !== 'delivered') return;
    // It says again what its earlier connection may have said. All of them have acknowledged: so this is known.
    const reached = this.#window.reachedAt(position);
    if (connection.isResumed && reached > 0 && receipt.acknowledged.size >= reached) return;
    receipt.acknowledged.add(connection.id);
    this.#window.weighMore(position, ACKNOWLEDGEMENT_BYTES);
    const user = connection.user === undefined ? undefined : receipt.users.get(connection.user);
    if (user !== undefined) user.acknowledged++;
    receipt.pending?.delete(connection);
    if (receipt.pending !== undefined) this.#report(receipt);
    for (const acknowledged of this.#observers) acknowledged(receipt, connection);
  }

  /** Nobody can wait for a connection that has closed. */
  closed(connection: Connection): void {
    for (const receipt of this.#waited) if (receipt.pending?.delete(connection)) this.#report(receipt);
  }

  /** This node has told that a notification was missed: by a user, or by all. `at` in milliseconds since the epoch. */
  missed(entry: Entry, user: string | null, at: number): void {
    const position = this.#window.positionOf(entry.id);
    if (position !== undefined) this.#receiptOf(entry, position).missed.push({ user, at });
  }

  /** Of how many notifications it knows something. */
  get size(): number {
    return this.#receipts.size;
  }

  /** What this node knows of a notification. */
  of(id: string): LocalReceipt | undefined {
    return this.#receipts.get(id as Id);
  }

  /** What became of a notification for a user, as this node sees it. */
  stateOf(user: string, id: string): { state: State; behind?: number } {
    const position = this.#window.positionOf(id);
    const entry = position === undefined ? undefined : this.#window.entryAt(position);
    if (position === undefined || entry === undefined) return { state: 'unknown' };
    let best: State = 'not_connected';
    let behind = 0;
    for (const connection of this.#connectionsOf(user)) {
      const hasAcknowledged = this.#receipts.get(entry.id)?.acknowledged.has(connection.id) === true;
      const state = hasAcknowledged ? 'acknowledged' : this.#stateOf(connection, entry, position);
      if (STATES.indexOf(state) > STATES.indexOf(best)) best = state;
      if (state === 'reading') behind = position - this.#reader.settled(connection) + 1;
    }
    // A connection that has gone may have acknowledged it.
    if ((this.#receipts.get(entry.id)?.users.get(user)?.acknowledged ?? 0) > 0) best = 'acknowledged';
    return best === 'reading' ? { state: best, behind } : { state: best };
  }

  #stateOf(connection: Connection, entry: Entry, position: number, receipt?: LocalReceipt): State {
    const { addresses, except } = entry.notification;
    if (except.includes(connection.id)) return 'excepted';
    // A connection may be in few rooms, and a notification be for thousands of users; or the other way round.
    const isReached =
      receipt === undefined || addresses.length < connection.joined.size
        ? addresses.some(address => reaches(connection, address, position))
        : reachesAny(connection, receipt.addresses, position);
    if (!isReached) return 'not_in_room';
    if (position < this.#reader.settled(connection)) return 'delivered';
    return this.#window.isOver(entry) ? 'expired' : 'reading';
  }

  #receiptOf(entry: Entry, position: number): LocalReceipt {
    const known = this.#receipts.get(entry.id);
    if (known !== undefined) return known;
    const { addresses, wait } = entry.notification;
    const users = new Map<string, UserReceipt>();
    for (const address of addresses) {
      const user = userOf(address);
      if (user !== undefined) users.set(user, { connections: 0, acknowledged: 0 });
    }
    const pending = wait === undefined ? undefined : new Set<Connection>();
    const receipt = {
      entry,
      position,
      acknowledged: new Set<string>(),
      users,
      pending,
      missed: [],
      addresses: new Set(addresses),
    };
    this.#receipts.set(entry.id, receipt);
    this.#window.weighMore(position, users.size * USER_BYTES);
    return receipt;
  }

  #report(receipt: LocalReceipt): void {
    const { entry, acknowledged, pending } = receipt;
    if (pending?.size === 0) this.#waited.delete(receipt);
    this.#waits.report(entry, acknowledged.size, pending?.size ?? 0);
  }

  /** Forgets what the window has forgotten. */
  forgetTrimmed(): void {
    // They are in the order of their positions, nearly always.
    for (const [id, receipt] of this.#receipts) {
      if (receipt.position >= this.#window.first) return;
      this.#receipts.delete(id);
      this.#waited.delete(receipt);
    }
  }
}

/** As `reaches`, for one of many addresses. */
function reachesAny(connection: Connection, addresses: ReadonlySet<Address>, position: number): boolean {
  for (const address of connection.joined.keys())
    if (addresses.has(address) && reaches(connection, address, position)) return true;
  // It may have left the room since then.
  if (connection.seen === undefined) return false;
  for (const address of addresses) if (connection.seen.has(address, position)) return true;
  return false;
}

/** Whether an entry at a position is for a connection. One that came back may acknowledge what it got before. */
function reaches(connection: Connection, address: Address, position: number): boolean {
  const from = connection.joined.get(address);
  if (from !== undefined && (position >= from || connection.isResumed)) return true;
  return connection.seen?.has(address, position) === true;
}
