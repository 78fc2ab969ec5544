import type { Cluster } from '../cluster/cluster.js';
import type { Journal } from '../journal/journal.js';
import { type Address, userAddress } from '../model/address.js';
import type { CloseReason, EndReason } from '../model/close.js';
import type { Id } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';
import type { Problem } from '../model/problem.js';
import type { After, Clock } from '../model/clock.js';
import type { Retention } from '../model/retention.js';
import type { Stores } from '../storage/store.js';
import { CatchUp } from './catch-up.js';
import type { Connection, Socket, StartPoint, Wire } from './connection.js';
import { type Connected, Connections, type ConnectOptions } from './connections.js';
import { Counters } from './counters.js';
import { Counts } from './counts.js';
import { Delivery } from './delivery.js';
import { Inventory } from './inventory.js';
import { nodesOf, writeNodeReport } from './node-report.js';
import type { Observer } from './observer.js';
import { Occupancy } from './presence/occupancy.js';
import { Presence, type PresenceSettings } from './presence/presence.js';
import { Publishing, type Receipt } from './publishing.js';
import { Deadlines } from './receipts/deadlines.js';
import { Inquiry } from './receipts/inquiry.js';
import { Receipts } from './receipts/receipts.js';
import { Waits } from './receipts/waits.js';
import { Schedule, type Scheduled, type ScheduleReceipt } from './schedule.js';
import { Window } from './window.js';

export type { Receipt } from './publishing.js';

const TRIM_INTERVAL_MS = 1000;
// How long a publisher waits for the counts of other nodes.
const COUNT_MS = 250;

/** What the core is made of, and its settings. */
export interface PostroomOptions {
  readonly journal: Journal;
  readonly cluster: Cluster;
  readonly retention: Retention;
  readonly maxBufferedBytes: number;
  /** Whether other nodes may share the journal. */
  readonly isShared: boolean;
  readonly presence: PresenceSettings;
  /** Whether to know which rooms somebody is in, on all nodes. */
  readonly occupancy?: boolean | undefined;
  readonly stores: Stores;
  /** Told of a scheduled notification that will never be sent. */
  readonly refused?: (problem: Problem) => void;
  readonly clock: Clock;
  readonly after: After;
  /** They watch the connections of this process. */
  readonly observers?: readonly Observer[] | undefined;
  /** Called with an error of ours in serving one connection, which is then closed. */
  readonly failed: (error: unknown) => void;
}

/** The core: puts notifications into the journal, and sends its entries to connections. It needs no server. */
export class Postroom {
  readonly counters = new Counters();
  readonly presence: Presence;
  /** Which rooms somebody is in; undefined if nobody asks for it. */
  readonly occupancy: Occupancy | undefined;
  /** What is on this node, for lists. */
  readonly inventory: Inventory;
  /** Who has acknowledged what. */
  readonly receipts: Receipts;
  readonly deadlines: Deadlines;
  /** What is to be sent later. */
  readonly schedule: Schedule;
  readonly inquiry: Inquiry;
  readonly #journal: Journal;
  readonly #cluster: Cluster;
  readonly #counts: Counts;
  readonly #waits: Waits;
  readonly #window: Window;
  readonly #connections: Connections;
  readonly #catchUp: CatchUp;
  readonly #delivery: Delivery;
  readonly #publishing: Publishing;
  #trimming: NodeJS.Timeout | undefined;
  #phase: 'starting' | 'open' | 'draining' = 'starting';
  readonly #isShared: boolean;

  constructor(options: PostroomOptions) {
    const { journal, cluster, stores, clock, after, failed } = options;
    const { counters } = this;
    this.#journal = journal;
    this.#cluster = cluster;
    const counts = new Counts(cluster, COUNT_MS);
    this.#counts = counts;
    this.#isShared = options.isShared;
    const deadlines = new Deadlines(this.now);
    this.deadlines = deadlines;
    const window = new Window(options.retention, this.now, entry => deadlines.dropped(entry));
    this.#window = window;
    const observers: Observer[] = [counters];
    const connections = new Connections({
      window,
      counters,
      observers,
      presence: () => this.presence,
      maxBufferedBytes: options.maxBufferedBytes,
      clock,
      atTurnEnd: () => this.#delivery.trim(),
      failed,
    });
    this.#connections = connections;
    const { hub, coalescer, reader } = connections;
    const catchUp = new CatchUp(journal, window);
    this.#catchUp = catchUp;
    const presence = new Presence({
      settings: options.presence,
      cluster,
      hub,
      coalescer,
      clock,
      after,
      failed,
    });
    this.presence = presence;
    if (options.occupancy) {
      const { graceMs } = options.presence;
      this.occupancy = new Occupancy({ cluster, graceMs, clock, after, failed });
      observers.push(this.occupancy);
    }
    this.inventory = new Inventory({ node: cluster.node, hub, presence, window, coalescer });
    const waits = new Waits(cluster, after);
    this.#waits = waits;
    const connectionsOf = (user: string) => hub.listeners(userAddress(user));
    const receipts = new Receipts({ window, reader, waits, connectionsOf, after });
    this.receipts = receipts;
    const schedule = new Schedule({
      store: stores.open<Scheduled>('schedule'),
      keys: stores.open<string>('schedule-keys'),
      lease: stores.lease('schedule'),
      cluster,
      append: notification => this.append(notification),
      firstSent: notification => journal.firstWith(notification),
      now: this.now,
      after,
      refused: options.refused ?? failed,
      failed,
    });
    this.schedule = schedule;
    const inquiry = new Inquiry(cluster, window, receipts);
    this.inquiry = inquiry;
    observers.push(receipts, presence, ...(options.observers ?? []));
    this.#delivery = new Delivery({ window, connections, counts, receipts, deadlines, catchUp });
    const isOpen = () => this.open;
    this.#publishing = new Publishing({ journal, counts, waits, schedule, inquiry, counters, isOpen });
  }

  /** Loads the retained past. Resolves when notifications and connections can come. */
  async start(): Promise<void> {
    this.#delivery.loaded(await this.#journal.follow(this.#delivery));
    await this.#cluster.start();
    this.presence.tracker.start();
    this.occupancy?.tracker.start();
    this.#trimming = setInterval(() => this.#delivery.trim(), TRIM_INTERVAL_MS);
    this.#trimming.unref();
    // It may have been stopped meanwhile.
    await this.schedule.start();
    if (this.#phase === 'starting') this.#phase = 'open';
  }

  /** Refuses notifications from now on. Running calls of `publish` still finish. */
  stopAccepting(): void {
    this.#phase = 'draining';
    this.#waits.stop();
  }

  async stop(): Promise<void> {
    this.stopAccepting();
    clearInterval(this.#trimming);
    this.presence.tracker.stop();
    await this.schedule.stop();
    this.occupancy?.tracker.stop();
    await this.#counts.idle();
  }

  /** Whether it does not know yet who is there. */
  get isStarting(): boolean {
    return this.#phase === 'starting';
  }

  /** Whether it takes notifications: it has started, is not stopping, and its journal works. */
  get ready(): boolean {
    return this.#phase === 'open' && this.#journal.status().available;
  }

  /** Whether it takes connections. It does so even if the journal does not work: the window is enough for them. */
  get open(): boolean {
    return this.#phase === 'open';
  }

  get status(): 'ok' | 'degraded' | 'draining' {
    if (this.#phase === 'draining') return 'draining';
    return this.ready ? 'ok' : 'degraded';
  }

  /** Numbers for operators. */
  get stats() {
    const { connections, users, rooms } = this.#connections.hub;
    return {
      connections,
      users,
      rooms,
      published: this.counters.published,
      journal: {
        kind: this.#journal.kind,
        ...this.#journal.status(),
        ...(this.#isShared && { nodes: nodesOf(this.#cluster) }),
        entries: this.#window.entries,
        bytes: this.#window.bytes,
      },
    };
  }

  /** This node's report to the others. */
  get nodeReport(): string {
    const { lagMs } = this.#journal.status();
    return writeNodeReport({
      connections: this.#connections.hub.connections,
      lagMs,
      presence: this.presence.tracker.version,
      occupancy: this.occupancy?.tracker.version ?? 0,
    });
  }

  /**
   * Accepts a notification. Resolves when it is in the journal and counted. Rejects with a Problem: `unavailable` if it
   * cannot be taken now, `key_reused` if its key stands for another notification. Calls keep their order, even if one
   * does not wait for the other.
   */
  publish(notification: Notification): Promise<Receipt> {
    return this.#publishing.publish(notification);
  }

  /** As `publish`, but a notification that names a moment waits for it. */
  accept(notification: Notification): Promise<Receipt | ScheduleReceipt> {
    return this.#publishing.accept(notification);
  }

  /** As `publish`, but resolves when it is in the journal, and does not count. */
  append(notification: Notification): Promise<Id> {
    return this.#publishing.append(notification);
  }

  /** The journal's clock, in milliseconds since the epoch. */
  readonly now = (): number => this.#journal.now();

  /** The entry with this id, if it is retained. */
  entryOf(id: string): Entry | undefined {
    const position = this.#window.positionOf(id);
    return position === undefined ? undefined : this.#window.entryAt(position);
  }

  /** Whether a cursor comes from a node that is ahead of this one. */
  isAhead(since: string): boolean {
    return this.#isShared && this.#window.isAhead(since);
  }

  /** Resolves when this node has caught up with a cursor, after two seconds, or if no node ever gave this cursor. */
  catchUp(since: string): Promise<void> {
    return this.#catchUp.wait(since);
  }

  /**
   * Adds a connection and its first rooms. With `since`, it first gets everything after this cursor that is addressed
   * to it. Frames sent in this turn come before the replay.
   */
  connect(socket: Socket, wire: Wire, options: ConnectOptions): Connected {
    return this.#connections.connect(socket, wire, options);
  }

  /**
   * Joins a room from now on. With `since`, the room's past after this cursor comes first. Joining again only brings
   * the requested past that was not sent yet.
   */
  subscribe(connection: Connection, room: string, since?: string): StartPoint {
    return this.#connections.subscribe(connection, room, since);
  }

  /** Leaves a room: the connection gets nothing more of it. */
  unsubscribe(connection: Connection, room: string): void {
    this.#connections.unsubscribe(connection, room);
  }

  /**
   * Sets the user's `info`, and the user of a connection that has none: it gets the user's notifications from now on.
   */
  identify(connection: Connection, user: string, info?: string): void {
    this.#connections.identify(connection, user, info);
  }

  /** Puts a connection into a room, whatever its token says. The client is told if it was not there yet. */
  assign(connection: Connection, room: string): void {
    this.#connections.assign(connection, room);
  }

  /** Takes a connection out of a room. The client is told. Returns whether it was there. */
  unassign(connection: Connection, room: string): boolean {
    return this.#connections.unassign(connection, room);
  }

  isIn(connection: Connection, room: string): boolean {
    return this.#connections.isIn(connection, room);
  }

  /** Sends a frame to one connection, in order with its notifications. */
  send(connection: Connection, frame: Buffer): void {
    this.#connections.send(connection, frame);
  }

  /** Writes the frames of a connection now, not at the end of the turn. */
  flush(connection: Connection): void {
    this.#connections.coalescer.flush(connection);
  }

  waiting(connection: Connection): number {
    return this.#connections.coalescer.waiting(connection);
  }

  /** The open connections that an address reaches. */
  listeners(address: Address): Connection[] {
    return [...this.#connections.hub.listeners(address)];
  }

  /** How many open connections a user has. */
  connectionsOf(user: string): number {
    return this.#connections.hub.count(userAddress(user));
  }

  /** Closes a connection with a reason, after the frames that wait for it. Idempotent. */
  close(connection: Connection, reason: CloseReason): void {
    this.#connections.close(connection, reason);
  }

  /** Forgets a connection whose socket is gone or closing. Idempotent. */
  disconnect(connection: Connection, reason: EndReason): void {
    this.#connections.disconnect(connection, reason);
  }
}
