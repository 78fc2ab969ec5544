import type { Cluster } from '../cluster/cluster.js';
import type { Observer } from '../core/observer.js';
import type { Postroom } from '../core/postroom.js';
import type { Tracker } from '../core/presence/tracker.js';
import type { After, Clock } from '../model/clock.js';
import type { Patterns } from '../model/pattern.js';
import type { Stores } from '../storage/store.js';
import { type Arrival, Arrivals } from './arrivals.js';
import { Crashes } from './crashes.js';
import { Backlog } from './backlog.js';
import { EVENT_TYPES, type EventType, type Happening, type WebhookEvent } from './event.js';
import { Missed } from './missed.js';
import { type OpenConnection, OpenConnections } from './open-connections.js';
import { EventQueue } from './queue.js';
import { Receiver } from './receiver.js';
import { Recorder } from './recorder.js';
import { type Batch, Sender, type SenderStatus } from './sender.js';

const TIMEOUT_MS = 10_000;
// After a start: time for clients to come back. They have not left.
const LEAST_SETTLE_MS = 5000;

/** What webhooks need. */
export interface WebhooksOptions {
  readonly url: string;
  /** The key of the signatures. */
  readonly key: Buffer;
  /** Patterns of the types of events that PHP wants. */
  readonly events: Patterns;
  /** Patterns of the rooms of which the backend hears. */
  readonly rooms: Patterns;
  readonly retentionSeconds: number;
  readonly retentionBytes: number;
  /** A user who is back within this time has never left. */
  readonly graceMs: number;
  readonly stores: Stores;
  readonly cluster: Cluster;
  readonly isShared: boolean;
  readonly version: string;
  readonly clock: Clock;
  readonly after: After;
  /** Told of the first of several requests in a row that failed. */
  readonly refused: (reason: string) => void;
  /** Told of events that were given up, at most once in ten seconds: how many these were since the last time. */
  readonly gaveUp: (events: number) => void;
  /** Told of events that cannot be stored, and of lists that cannot be read. It is tried again. */
  readonly failed: (error: unknown) => void;
}

/** What PHP hears: events go into a store, and one node of the installation sends them. */
export class Webhooks {
  readonly #options: WebhooksOptions;
  readonly #queue: EventQueue;
  readonly #sender: Sender;
  readonly #connections: OpenConnections;
  readonly #recorder: Recorder;
  readonly #crashes: Crashes | undefined;
  readonly #arrivals: Arrivals[] = [];
  #missed: Missed | undefined;

  constructor(options: WebhooksOptions) {
    this.#options = options;
    const { stores, cluster, clock, after, isShared, failed } = options;
    const { node } = cluster;
    const lease = stores.lease('webhooks');
    const connections = stores.open<OpenConnection>('webhook-connections');
    const queue = new EventQueue({ store: stores.open<WebhookEvent>('webhooks'), node, clock, failed });
    const wants = (type: EventType, room?: string) =>
      this.wants(type) && (room === undefined || options.rooms.match(room));
    this.#queue = queue;
    this.#connections = new OpenConnections({ store: connections, node, after, failed });
    this.#recorder = new Recorder({ queue, connections: this.#connections, now: clock.now, wants });
    if (wants('connection.closed'))
      this.#crashes = new Crashes({ queue, connections, cluster, lease, after, failed });
    const { url, key, version, retentionSeconds, retentionBytes, gaveUp } = options;
    const { now } = clock;
    this.#sender = new Sender({
      receiver: new Receiver({ url, key, version, timeoutMs: TIMEOUT_MS, clock, after }),
      queue,
      batches: stores.open<Batch>('webhook-batches'),
      lease,
      isShared,
      backlog: new Backlog({ queue, retentionSeconds, retentionBytes, now, gaveUp }),
      now,
      refused: options.refused,
      failed,
    });
  }

  /** Watches the connections of this node. */
  get observer(): Observer {
    return this.#recorder;
  }

  get status(): SenderStatus {
    return this.#sender.status;
  }

  /** Whether PHP hears of joins and leaves. */
  get wantsJoins(): boolean {
    return EVENT_TYPES.some(type => /^(room|member)\./.test(type) && this.wants(type));
  }

  /** Whether PHP wants events of this type. */
  wants(type: EventType): boolean {
    return this.#options.events.match(type);
  }

  /** Tells PHP who is there, of the whole installation. Call it before the start. */
  follow(postroom: Postroom): void {
    const { occupancy, presence } = postroom;
    if (this.wants('notification.missed')) this.#missed = this.#missedOf(postroom);
    if (occupancy !== undefined)
      this.#follow(occupancy.tracker, 'webhook-rooms', (what, { room }) => ({
        type: what === 'came' ? 'room.occupied' : 'room.vacated',
        room,
      }));
    if (this.wants('member.joined') || this.wants('member.left'))
      this.#follow(presence.tracker, 'webhook-members', (what, { room, user, info }) => ({
        type: what === 'came' ? 'member.joined' : 'member.left',
        room,
        user,
        info: info === null ? null : JSON.parse(info),
      }));
  }

  /** Adds an event, if PHP wants it. Resolves to false if it had to be dropped. */
  async tell(happening: Happening): Promise<boolean> {
    const isWanted = !('room' in happening) || this.#options.rooms.match(happening.room);
    return !isWanted || !this.wants(happening.type) || this.#queue.add(happening);
  }

  /** Sends from now on. */
  start(): void {
    this.#sender.start();
    this.#crashes?.start();
    this.#missed?.start();
    for (const arrivals of this.#arrivals) arrivals.start();
  }

  /** What was not sent is sent after the next start. Call it when all connections are closed. */
  async stop(): Promise<void> {
    for (const arrivals of this.#arrivals) await arrivals.stop();
    await this.#missed?.stop();
    await this.#queue.stop();
    await this.#connections.stop();
    await this.#crashes?.stop();
    await this.#sender.stop();
  }

  #missedOf({ receipts, deadlines, now }: Postroom): Missed {
    const { stores, after, failed } = this.#options;
    return new Missed({
      receipts,
      deadlines,
      acknowledgements: stores.open<true>('webhook-acknowledgements'),
      places: stores.open<string>('webhook-missed'),
      lease: stores.lease('webhooks'),
      tell: happening => this.tell(happening),
      now,
      after,
      failed,
    });
  }

  #follow(
    tracker: Tracker,
    store: string,
    happeningOf: (what: 'came' | 'left', arrival: Arrival) => Happening,
  ): void {
    const { stores, cluster, clock, after, graceMs, rooms, failed } = this.#options;
    const arrivals = new Arrivals({
      covers: room => rooms.match(room),
      cluster,
      topic: store,
      tracker,
      told: stores.open<Arrival>(store),
      lease: stores.lease('webhooks'),
      clock,
      after,
      settleMs: Math.max(graceMs, LEAST_SETTLE_MS),
      tell: async (what, arrival) => {
        if (!(await this.tell(happeningOf(what, arrival)))) throw new Error('an event could not be stored');
      },
      failed,
    });
    this.#arrivals.push(arrivals);
  }
}
