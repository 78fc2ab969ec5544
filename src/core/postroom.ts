import type { Cluster } from '../cluster/cluster.js';
import type { Appended, Journal } from '../journal/journal.js';
import { type Address, userAddress } from '../model/address.js';
import type { CloseReason, EndReason } from '../model/close.js';
import type { Id } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';
import { type Problem, unavailable } from '../model/problem.js';
import type { After, Clock } from '../model/clock.js';
import type { Retention } from '../model/retention.js';
import { inTurns } from '../model/turns.js';
import type { Stores } from '../storage/store.js';
import { CatchUp } from './catch-up.js';
import { Coalescer } from './coalescer.js';
import { Connection, type Peer, type Socket, type StartPoint, type Wire } from './connection.js';
import { Counters } from './counters.js';
import { Counts } from './counts.js';
import { Frames } from './frames.js';
import { Hub } from './hub.js';
import { Inventory } from './inventory.js';
import { readNodeReport, writeNodeReport } from './node-report.js';
import type { Observer } from './observer.js';
import { Occupancy } from './presence/occupancy.js';
import { Presence, type PresenceSettings } from './presence/presence.js';
import { Reader } from './reader.js';
import { Deadlines } from './receipts/deadlines.js';
import { Inquiry } from './receipts/inquiry.js';
import { Receipts } from './receipts/receipts.js';
import { Waits } from './receipts/waits.js';
import { Schedule, type Scheduled, type ScheduleReceipt } from './schedule.js';
import { Subscriptions } from './subscriptions.js';
import { Window } from './window.js';

const TRIM_INTERVAL_MS = 1000;
const RETRY_AFTER_SECONDS = 1;
// How long a publisher waits for the counts of other nodes.
const COUNT_MS = 250;

/** The answer to a publisher. */
export interface Receipt {
  readonly id: Id;
  /** Open connections on all nodes that it was addressed to, readers included. 0 is a normal answer. */
  readonly connections: number;
  /** Connections that have acknowledged it; only if the notification waits for that. */
  readonly acknowledged?: number;
  /** The key was used before: nothing was sent, and `id` is the id of the first notification. */
  readonly duplicate: boolean;
  /** Present if some node did not report its part of `connections` in time. */
  readonly partial?: true;
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
  readonly #coalescer: Coalescer;
  readonly #reader: Reader;
  readonly #hub: Hub;
  readonly #subscriptions: Subscriptions;
  readonly #catchUp: CatchUp;
  #trimming: NodeJS.Timeout | undefined;
  /** Whether the past is in the window. Later entries are new. */
  #isLoaded = false;
  #phase: 'starting' | 'open' | 'draining' = 'starting';
  #looks: Promise<unknown> = Promise.resolve();
  readonly #isShared: boolean;
  readonly #clock: Clock;

  /**
   * @param options.isShared whether other nodes may share the journal
   * @param options.observers watch the connections of this process
   * @param options.failed called with an error of ours in serving one connection, which is then closed
   */
  constructor(options: {
    journal: Journal;
    cluster: Cluster;
    retention: Retention;
    maxBufferedBytes: number;
    isShared: boolean;
    presence: PresenceSettings;
    /** Whether to know which rooms somebody is in, on all nodes. */
    occupancy?: boolean | undefined;
    stores: Stores;
    /** Told of a scheduled notification that will never be sent. */
    refused?: (problem: Problem) => void;
    clock: Clock;
    after: After;
    observers?: readonly Observer[] | undefined;
    failed: (error: unknown) => void;
  }) {
    this.#journal = options.journal;
    this.#cluster = options.cluster;
    this.#counts = new Counts(options.cluster, COUNT_MS);
    this.#isShared = options.isShared;
    this.#clock = options.clock;
    this.deadlines = new Deadlines(() => this.#journal.now());
    this.#window = new Window(
      options.retention,
      () => this.#journal.now(),
      entry => this.deadlines.dropped(entry),
    );
    const frames = new Frames();
    const failed = (connection: Connection, error: unknown) => {
      options.failed(error);
      this.close(connection, 'internal');
    };
    const taken = (connection: Connection) => {
      this.#reader.pump(connection);
      this.presence.taken(connection);
    };
    this.#coalescer = new Coalescer(
      { taken, failed, atTurnEnd: () => this.#trim() },
      this.counters,
      options.maxBufferedBytes,
    );
    this.#reader = new Reader({
      window: this.#window,
      coalescer: this.#coalescer,
      frames,
      counters: this.counters,
      maxBufferedBytes: options.maxBufferedBytes,
      failed,
      close: (connection, reason) => this.close(connection, reason),
    });
    this.#hub = new Hub(this.#coalescer, this.#reader, frames, this.counters);
    const observers: Observer[] = [this.counters];
    this.#subscriptions = new Subscriptions({
      window: this.#window,
      reader: this.#reader,
      hub: this.#hub,
      observers,
      fellBehind: connection => this.close(connection, 'fell_behind'),
    });
    this.#catchUp = new CatchUp(this.#journal, this.#window);
    this.presence = new Presence({
      settings: options.presence,
      cluster: options.cluster,
      hub: this.#hub,
      coalescer: this.#coalescer,
      clock: options.clock,
      after: options.after,
      failed: options.failed,
    });
    if (options.occupancy) {
      const { cluster, presence, clock, after } = options;
      const { graceMs } = presence;
      this.occupancy = new Occupancy({ cluster, graceMs, clock, after, failed: options.failed });
      observers.push(this.occupancy);
    }
    this.inventory = new Inventory({
      node: options.cluster.node,
      hub: this.#hub,
      presence: this.presence,
      window: this.#window,
      coalescer: this.#coalescer,
    });
    this.#waits = new Waits(options.cluster, options.after);
    this.receipts = new Receipts({
      window: this.#window,
      reader: this.#reader,
      waits: this.#waits,
      connectionsOf: user => this.#hub.listeners(userAddress(user)),
      after: options.after,
    });
    const { stores } = options;
    this.schedule = new Schedule({
      store: stores.open<Scheduled>('schedule'),
      keys: stores.open<string>('schedule-keys'),
      lease: stores.lease('schedule'),
      cluster: options.cluster,
      append: notification => this.append(notification),
      now: this.now,
      after: options.after,
      refused: options.refused ?? options.failed,
      failed: options.failed,
    });
    this.inquiry = new Inquiry(options.cluster, this.#window, this.receipts);
    observers.push(this.receipts, this.presence, ...(options.observers ?? []));
  }

  /** Loads the retained past. Resolves when notifications and connections can come. */
  async start(): Promise<void> {
    const past = await this.#journal.follow({
      deliver: entry => this.#deliver(entry),
      skipped: until => this.#skip(until),
    });
    this.#window.beginAfter(past);
    this.#isLoaded = true;
    await this.#cluster.start();
    this.presence.tracker.start();
    this.occupancy?.tracker.start();
    this.#trimming = setInterval(() => this.#trim(), TRIM_INTERVAL_MS);
    this.#trimming.unref();
    // It may have been stopped meanwhile.
    if (this.#phase === 'starting') this.#phase = 'open';
    this.schedule.start();
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
    return {
      connections: this.#hub.connections,
      users: this.#hub.users,
      rooms: this.#hub.rooms,
      published: this.counters.published,
      journal: {
        kind: this.#journal.kind,
        ...this.#journal.status(),
        ...(this.#isShared && { nodes: this.#nodes() }),
        entries: this.#window.entries,
        bytes: this.#window.bytes,
      },
    };
  }

  /** This node's report to the others. */
  get nodeReport(): string {
    const { lagMs } = this.#journal.status();
    return writeNodeReport({
      connections: this.#hub.connections,
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
  async publish(notification: Notification): Promise<Receipt> {
    const { wait } = notification;
    const { id, duplicate } = await this.#append(notification);
    if (duplicate) {
      const known = wait === undefined ? undefined : await this.inquiry.ask(id);
      return { id, connections: 0, ...(known && { acknowledged: known.acknowledged }), duplicate };
    }
    const { connections, partial } = await this.#counts.total(id);
    const acknowledged = wait === undefined ? undefined : await this.#waits.wait(id, wait);
    return {
      id,
      connections,
      ...(acknowledged !== undefined && { acknowledged }),
      duplicate,
      ...(partial && { partial }),
    };
  }

  /** As `publish`, but a notification that names a moment waits for it. */
  async accept(notification: Notification): Promise<Receipt | ScheduleReceipt> {
    const { at } = notification;
    if (at !== undefined || this.schedule.isUsed) {
      this.#requireOpen();
      const waiting = await this.#inTurn(() =>
        at === undefined ? this.schedule.firstWith(notification) : this.schedule.add(notification, at),
      );
      if (waiting !== undefined) return waiting;
    }
    return this.publish(notification);
  }

  /** As `publish`, but resolves when it is in the journal, and does not count. */
  async append(notification: Notification): Promise<Id> {
    const { id, duplicate } = await this.#append(notification);
    if (!duplicate) this.#counts.forget(id);
    return id;
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
  connect(
    socket: Socket,
    wire: Wire,
    options: {
      user: string | undefined;
      info?: string | undefined;
      peer: Peer;
      rooms: readonly string[];
      since?: string | undefined;
    },
  ): { connection: Connection; start: StartPoint } {
    const { user, info, peer, rooms, since } = options;
    const connection = new Connection(socket, wire, { user, info, peer, openedAt: this.#clock.now() });
    return { connection, start: this.#subscriptions.open(connection, rooms, since) };
  }

  /**
   * Joins a room from now on. With `since`, the room's past after this cursor comes first. Joining again only brings
   * the requested past that was not sent yet.
   */
  subscribe(connection: Connection, room: string, since?: string): StartPoint {
    return this.#subscriptions.join(connection, room, since);
  }

  /** Leaves a room: the connection gets nothing more of it. */
  unsubscribe(connection: Connection, room: string): void {
    this.#subscriptions.leave(connection, room);
  }

  /**
   * Sets the user's `info`, and the user of a connection that has none: it gets the user's notifications from now on.
   */
  identify(connection: Connection, user: string, info?: string): void {
    this.#subscriptions.identify(connection, user, info);
  }

  /** Puts a connection into a room, whatever its token says. The client is told if it was not there yet. */
  assign(connection: Connection, room: string): void {
    const wasIn = this.isIn(connection, room);
    const start = this.subscribe(connection, room);
    // It may have been closed meanwhile.
    if (!this.isIn(connection, room)) return;
    connection.assigned ??= new Set();
    connection.assigned.add(room);
    if (wasIn) return;
    const members = this.presence.listFor(connection, room);
    this.send(connection, connection.wire.subscribed(room, start, members));
  }

  /** Takes a connection out of a room. The client is told. Returns whether it was there. */
  unassign(connection: Connection, room: string): boolean {
    if (!this.isIn(connection, room)) return false;
    this.unsubscribe(connection, room);
    this.send(connection, connection.wire.unsubscribed(room));
    return true;
  }

  isIn(connection: Connection, room: string): boolean {
    return this.#subscriptions.has(connection, room);
  }

  /** Sends a frame to one connection, in order with its notifications. */
  send(connection: Connection, frame: Buffer): void {
    if (!connection.closed) this.#coalescer.send(connection, frame);
  }

  /** Writes the frames of a connection now, not at the end of the turn. */
  flush(connection: Connection): void {
    this.#coalescer.flush(connection);
  }

  waiting(connection: Connection): number {
    return this.#coalescer.waiting(connection);
  }

  /** The open connections that an address reaches. */
  listeners(address: Address): Connection[] {
    return [...this.#hub.listeners(address)];
  }

  /** How many open connections a user has. */
  connectionsOf(user: string): number {
    return this.#hub.count(userAddress(user));
  }

  /** Closes a connection with a reason, after the frames that wait for it. Idempotent. */
  close(connection: Connection, reason: CloseReason): void {
    if (connection.closed) return;
    this.#coalescer.flush(connection);
    this.disconnect(connection, reason);
    connection.socket.close(reason);
  }

  /** Forgets a connection whose socket is gone or closing. Idempotent. */
  disconnect(connection: Connection, reason: EndReason): void {
    if (connection.closed) return;
    connection.closed = true;
    connection.reading = undefined;
    connection.pending = undefined;
    connection.seen = undefined;
    connection.untold = undefined;
    this.#subscriptions.end(connection, reason);
  }

  /** What looks into the schedule first keeps its order all the same. */
  #inTurn<T>(look: () => Promise<T>): Promise<T> {
    const turn = this.#looks.then(look);
    this.#looks = turn.catch(() => undefined);
    return turn;
  }

  #requireOpen(): void {
    if (this.#phase !== 'open')
      throw unavailable('This server is starting or shutting down; try again.', RETRY_AFTER_SECONDS);
  }

  async #append(notification: Notification): Promise<Appended> {
    this.#requireOpen();
    const appended = await this.#journal.append(notification);
    if (!appended.duplicate) this.counters.published++;
    return appended;
  }

  #nodes() {
    return this.#cluster.nodes().map(({ node, report }) => {
      const { connections, lagMs } = readNodeReport(report);
      return { node, connections, lagMs };
    });
  }

  #deliver(entry: Entry): void {
    const position = this.#window.add(entry);
    this.deadlines.add(entry);
    const note = this.#isLoaded ? this.receipts.open(entry, position) : undefined;
    const reached = this.#hub.deliver(entry, position, note);
    this.#window.setReached(position, reached);
    if (this.#isLoaded) this.#counts.delivered(entry, reached);
    if (note !== undefined) this.receipts.delivered(entry);
    this.#coalescer.schedule();
    this.#catchUp.delivered(entry);
  }

  #trim(): void {
    this.receipts.forgetTrimmed();
    // The rest is trimmed in the next turn.
    if (!this.#window.trim()) this.#coalescer.schedule();
  }

  /** No client of this node heard the skipped entries: all must load their state anew. */
  #skip(until: Id): void {
    this.#window.forget(until);
    const connections = this.#hub.takeAll();
    // Readers must not go on: before a client is closed, it must not hear anything after the gap.
    for (const connection of connections) connection.reading = undefined;
    void inTurns(connections, connection => this.close(connection, 'fell_behind'));
  }
}
