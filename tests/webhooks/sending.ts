import { randomUUID } from 'node:crypto';
import { afterEach } from '@jest/globals';
import { signingKeyOf } from '../../src/backend/signature.js';
import { systemAfter, systemClock } from '../../src/model/clock.js';
import { Backlog } from '../../src/webhooks/backlog.js';
import { EventQueue } from '../../src/webhooks/queue.js';
import { Receiver } from '../../src/webhooks/receiver.js';
import { type Batch, Sender } from '../../src/webhooks/sender.js';
import type { Happening, WebhookEvent } from '../../src/webhooks/event.js';
import { MemoryStores } from '../../src/storage/memory.js';
import { ALWAYS_HELD, type Lease, type Stores } from '../../src/storage/store.js';
import { clockOf } from '../support/clock.js';
import { WEBHOOK_SECRET } from '../support/receiver.js';

interface Options {
  readonly stores?: Stores;
  readonly lease?: Lease;
  readonly timeoutMs?: number;
  readonly retentionSeconds?: number;
  readonly retentionBytes?: number;
}

const running: Sending[] = [];

afterEach(async () => {
  for (const sending of running.splice(0)) await sending.stop();
});

/** A queue with its sender, on a clock that the test sets. Stopped after the test. */
export class Sending {
  /** Milliseconds since the epoch. The signatures have the real time, which their library checks. */
  now = Date.now();
  readonly stores: Stores;
  readonly queue: EventQueue;
  readonly sender: Sender;
  /** Reasons why requests were not taken, as they were told. */
  readonly refusals: string[] = [];
  /** Failures of the stores, as they were told. */
  readonly failures: string[] = [];
  /** What the sender told of events that it gave up. */
  readonly givenUp: number[] = [];
  #told = 0;

  constructor(url: string, options: Options = {}) {
    this.stores = options.stores ?? new MemoryStores();
    this.queue = new EventQueue({
      store: this.stores.open<WebhookEvent>('webhooks'),
      // As in real life: each process has its own name.
      node: randomUUID(),
      clock: clockOf(() => this.now),
      failed: error => this.failures.push(String(error)),
    });
    this.sender = new Sender({
      receiver: new Receiver({
        url,
        key: signingKeyOf(WEBHOOK_SECRET),
        version: '0.0.0-test',
        timeoutMs: options.timeoutMs ?? 5000,
        clock: systemClock,
        after: systemAfter,
      }),
      queue: this.queue,
      batches: this.stores.open<Batch>('webhook-batches'),
      lease: options.lease ?? ALWAYS_HELD,
      isShared: false,
      backlog: new Backlog({
        queue: this.queue,
        retentionSeconds: options.retentionSeconds ?? 3600,
        retentionBytes: options.retentionBytes ?? 1e9,
        now: () => this.now,
        gaveUp: events => this.givenUp.push(events),
      }),
      now: () => this.now,
      refused: reason => this.refusals.push(reason),
      failed: error => this.failures.push(String(error)),
    });
    running.push(this);
  }

  /** Adds so many events. Resolves to the names of their rooms, which differ, when they are stored. */
  async tell(count: number): Promise<string[]> {
    const rooms = Array.from({ length: count }, () => `room-${this.#told++}`);
    await Promise.all(rooms.map(room => this.add({ type: 'room.occupied', room })));
    return rooms;
  }

  async add(happening: Happening): Promise<void> {
    if (!(await this.queue.add(happening))) throw new Error('an event was dropped');
  }

  /** Like the end of a process: nothing is told any more. */
  async stop(): Promise<void> {
    await this.sender.stop();
  }
}

/** Looks at something again and again, for what no request reports. */
export async function untilSo(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(resolve => setTimeout(resolve, 2));
}
