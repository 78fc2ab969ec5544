import type { Cluster } from '../cluster/cluster.js';
import type { Journal } from '../journal/journal.js';
import { type Address, userAddress } from '../model/address.js';
import type { CloseReason, EndReason } from '../model/close.js';
import type { Id } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';
import { unavailable } from '../model/problem.js';
import type { Retention } from '../model/retention.js';
import { inTurns } from '../model/turns.js';
import { CatchUp } from './catch-up.js';
import { Coalescer } from './coalescer.js';
import { Connection, type Socket, type StartPoint, type Wire } from './connection.js';
import { Counters } from './counters.js';
import { Counts } from './counts.js';
import { Frames } from './frames.js';
import { Hub } from './hub.js';
import { readNodeReport, writeNodeReport } from './node-report.js';
import type { Observer } from './observer.js';
import { Reader } from './reader.js';
import { Subscriptions } from './subscriptions.js';
import { Window } from './window.js';

const TRIM_INTERVAL_MS = 1000;
const RETRY_AFTER_SECONDS = 1;
// How long a publisher waits for the other nodes' part of the count.
const COUNT_MS = 250;

/** What a publisher learns. */
export interface Receipt {
  readonly id: Id;
  /** Open connections that it was addressed to, on all nodes; readers are counted, too. 0 is a normal answer. */
  readonly connections: number;
  /** The key was there already: nothing was sent, `id` is that of the first. */
  readonly duplicate: boolean;
  /** Not every node reported its part of `connections` in time; else it is absent. */
  readonly partial?: true;
}

/** The core: notifications go into the journal, and what the journal delivers goes to connections. It needs no server. */
export class Postroom {
  readonly counters = new Counters();
  readonly #observers: readonly Observer[];
  readonly #journal: Journal;
  readonly #cluster: Cluster;
  readonly #counts: Counts;
  readonly #window: Window;
  readonly #coalescer: Coalescer;
  readonly #reader: Reader;
  readonly #hub: Hub;
  readonly #subscriptions: Subscriptions;
  readonly #catchUp: CatchUp;
  #trimming: NodeJS.Timeout | undefined;
  /** The past is in the window: what comes now is new. */
  #isLoaded = false;
  #phase: 'starting' | 'open' | 'draining' = 'starting';
  readonly #isShared: boolean;

  /**
   * @param options.isShared whether other nodes may share the journal
   * @param options.observers watch the connections of this process
   * @param options.failed told of an error of ours in serving one connection, which is closed for it
   */
  constructor(options: {
    journal: Journal;
    cluster: Cluster;
    retention: Retention;
    maxBufferedBytes: number;
    isShared: boolean;
    observers?: readonly Observer[];
    failed: (error: unknown) => void;
  }) {
    this.#observers = [this.counters, ...(options.observers ?? [])];
    this.#journal = options.journal;
    this.#cluster = options.cluster;
    this.#counts = new Counts(options.cluster, COUNT_MS);
    this.#isShared = options.isShared;
    this.#window = new Window(options.retention, () => this.#journal.now());
    const frames = new Frames();
    const failed = (connection: Connection, error: unknown) => {
      options.failed(error);
      this.close(connection, 'internal');
    };
    const taken = (connection: Connection) => this.#reader.pump(connection);
    this.#coalescer = new Coalescer({ taken, failed, atTurnEnd: () => this.#trim() }, this.counters);
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
    this.#subscriptions = new Subscriptions({
      window: this.#window,
      reader: this.#reader,
      hub: this.#hub,
      fellBehind: connection => this.close(connection, 'fell_behind'),
    });
    this.#catchUp = new CatchUp(this.#journal, this.#window);
  }

  /** Takes in the retained past; resolves when notifications and connections can come. */
  async start(): Promise<void> {
    const past = await this.#journal.follow({
      deliver: entry => this.#deliver(entry),
      skipped: until => this.#skip(until),
    });
    this.#window.beginAfter(past);
    this.#isLoaded = true;
    await this.#cluster.start();
    this.#trimming = setInterval(() => this.#trim(), TRIM_INTERVAL_MS);
    this.#trimming.unref();
    // It may have been told to stop meanwhile.
    if (this.#phase === 'starting') this.#phase = 'open';
  }

  /** Refuses notifications from now on; those under way finish. */
  stopAccepting(): void {
    this.#phase = 'draining';
  }

  async stop(): Promise<void> {
    this.stopAccepting();
    clearInterval(this.#trimming);
    await this.#counts.idle();
  }

  /** Whether notifications are taken: started, not stopping, with a journal that works. */
  get ready(): boolean {
    return this.#phase === 'open' && this.#journal.status().available;
  }

  /** Whether connections are taken: also while the journal has a fault, since what they have joined is known. */
  get open(): boolean {
    return this.#phase === 'open';
  }

  get status(): 'ok' | 'degraded' | 'draining' {
    if (this.#phase === 'draining') return 'draining';
    return this.ready ? 'ok' : 'degraded';
  }

  /** Figures for operators. */
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

  /** What this node reports to the others. */
  get nodeReport(): string {
    return writeNodeReport({ connections: this.#hub.connections, lagMs: this.#journal.status().lagMs });
  }

  /**
   * Accepts a notification: when this resolves it is in the journal. Rejects with a Problem (`unavailable`)
   * when it could not be. Calls that follow each other without waiting keep their order.
   */
  async publish(notification: Notification): Promise<Receipt> {
    if (this.#phase !== 'open')
      throw unavailable('This server is starting or shutting down; try again.', RETRY_AFTER_SECONDS);
    const { id, duplicate } = await this.#journal.append(notification);
    if (duplicate) return { id, connections: 0, duplicate };
    this.counters.published++;
    const { connections, partial } = await this.#counts.total(id);
    return { id, connections, duplicate, ...(partial && { partial }) };
  }

  /** Whether a client comes with a cursor of another node that is further than this one. */
  isAhead(since: string): boolean {
    return this.#isShared && this.#window.isAhead(since);
  }

  /** Resolves when this node has caught up with a cursor, after two seconds, or if no node ever gave that cursor. */
  catchUp(since: string): Promise<void> {
    return this.#catchUp.wait(since);
  }

  /**
   * A new connection with the rooms it joins at once. With `since`, everything after it that is addressed to
   * the connection comes first. Frames sent in this turn come before the replay.
   */
  connect(
    socket: Socket,
    wire: Wire,
    options: { user: string | undefined; rooms: readonly string[]; since?: string | undefined },
  ): { connection: Connection; start: StartPoint } {
    const { user, rooms, since } = options;
    const connection = new Connection(socket, wire, user);
    const start = this.#subscriptions.open(connection, rooms, since);
    this.#notify(observer => observer.opened(connection));
    for (const room of rooms) this.#notify(observer => observer.joined(connection, room));
    return { connection, start };
  }

  /**
   * Joins a room, from now on; with `since`, the room's past after it comes first. Joining again changes
   * nothing, but brings the past that is asked for and was not sent yet.
   */
  subscribe(connection: Connection, room: string, since?: string): StartPoint {
    const wasIn = this.isIn(connection, room);
    const start = this.#subscriptions.join(connection, room, since);
    if (!wasIn && this.isIn(connection, room)) this.#notify(observer => observer.joined(connection, room));
    return start;
  }

  /** Leaves a room; nothing of it comes after what was sent so far. */
  unsubscribe(connection: Connection, room: string): void {
    if (!this.isIn(connection, room)) return;
    this.#notify(observer => observer.left(connection, room));
    this.#subscriptions.leave(connection, room);
  }

  /** Makes a connection a user's, from now on. Only for a connection without a user. */
  identify(connection: Connection, user: string): void {
    this.#subscriptions.identify(connection, user);
  }

  /** Whether a connection has joined a room. */
  isIn(connection: Connection, room: string): boolean {
    return this.#subscriptions.has(connection, room);
  }

  /** The rooms that a connection has joined. */
  roomsOf(connection: Connection): string[] {
    return this.#subscriptions.roomsOf(connection);
  }

  /** Sends one connection a frame, in its place among the notifications. */
  send(connection: Connection, frame: Buffer): void {
    if (!connection.closed) this.#coalescer.send(connection, frame);
  }

  /** Writes the frames of a connection now, not at the end of the turn. */
  flush(connection: Connection): void {
    this.#coalescer.flush(connection);
  }

  /** Bytes that wait for a connection. */
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

  /** Closes a connection after the frames that wait for it, saying why. Idempotent. */
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
    const rooms = this.roomsOf(connection);
    this.#hub.remove(connection);
    connection.joined.clear();
    for (const room of rooms) this.#notify(observer => observer.left(connection, room));
    this.#notify(observer => observer.closed(connection, reason));
  }

  #notify(tell: (observer: Observer) => void): void {
    for (const observer of this.#observers) tell(observer);
  }

  #nodes() {
    return this.#cluster.nodes().map(({ node, report }) => ({ node, ...readNodeReport(report) }));
  }

  #deliver(entry: Entry): void {
    const position = this.#window.add(entry);
    const reached = this.#hub.deliver(entry, position);
    if (this.#isLoaded) this.#counts.delivered(entry, reached);
    this.#coalescer.schedule();
    this.#catchUp.delivered(entry);
  }

  #trim(): void {
    // The rest in the next turn.
    if (!this.#window.trim()) this.#coalescer.schedule();
  }

  /** No client of this node heard what was skipped: all have to load their state anew. */
  #skip(until: Id): void {
    this.#window.forget(until);
    const connections = this.#hub.takeAll();
    // No client may hear what comes after the gap before it is closed.
    for (const connection of connections) connection.reading = undefined;
    void inTurns(connections, connection => this.close(connection, 'fell_behind'));
  }
}
