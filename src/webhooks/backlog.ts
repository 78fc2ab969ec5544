import type { EventQueue } from './queue.js';
import { type WebhookEvent, weigh } from './event.js';

const MEASURE_EVERY_MS = 30_000;
// Measuring takes at most this part of the time.
const MEASURE_PART = 0.05;
const QUIET_MS = 10_000;

interface BacklogOptions {
  readonly queue: EventQueue;
  readonly retentionSeconds: number;
  readonly retentionBytes: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told of events that were given up, at most once in ten seconds: how many these were since the last time. */
  readonly gaveUp: (events: number) => void;
}

/** How much waits for the backend, and what of it is given up: what is too old, or too much. */
export class Backlog {
  readonly #options: BacklogOptions;
  #waiting = 0;
  #bytes = 0;
  /** What this node had stored when it was counted last. */
  #counted = { events: 0, bytes: 0, lastId: '' };
  #measureAt = 0;
  #givenUp = 0;
  /** Events that were given up and that nobody was told of yet. */
  #untold = 0;
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(options: BacklogOptions) {
    this.#options = options;
  }

  /** Events that the backend has not taken, as far as this node knows. */
  get waiting(): number {
    return this.#waiting + this.#options.queue.stored.events - this.#counted.events;
  }

  /** Events that were given up, also because they could not be stored. */
  get dropped(): number {
    return this.#givenUp + this.#options.queue.dropped;
  }

  /** Gives up events that are too old. Resolves to the others. */
  async withoutOld(events: readonly WebhookEvent[]): Promise<readonly WebhookEvent[]> {
    const oldest = new Date(this.#options.now() - this.#options.retentionSeconds * 1000).toISOString();
    const old = events.filter(({ at }) => at < oldest);
    if (old.length === 0) return events;
    await this.#giveUp(old);
    return events.filter(({ at }) => at >= oldest);
  }

  /**
   * Gives up the oldest events if they have too many bytes together. What clients said goes last: it was acknowledged,
   * and joins and leaves, which are cheap to make, must not push it out.
   */
  async trim(stopping: AbortSignal): Promise<void> {
    await this.#measure(stopping);
    await this.#giveUpOldest(stopping, ({ type }) => type !== 'message' && type !== 'notification.missed');
    await this.#giveUpOldest(stopping, () => true);
    this.#tellGivenUp();
  }

  /** Removes events that were taken. */
  async remove(events: readonly WebhookEvent[]): Promise<void> {
    await this.#options.queue.remove(events);
    this.#waiting = Math.max(0, this.#waiting - events.length);
    this.#bytes = Math.max(0, this.#bytes - bytesOf(events));
  }

  async #giveUpOldest(stopping: AbortSignal, mayGo: (event: WebhookEvent) => boolean): Promise<void> {
    const { queue, retentionBytes } = this.#options;
    if (this.#bytes <= retentionBytes) return;
    for await (const page of queue.pages()) {
      let left = this.#bytes;
      const going: WebhookEvent[] = [];
      for (const event of page) {
        if (left <= retentionBytes) break;
        if (!mayGo(event)) continue;
        going.push(event);
        left -= weigh(event);
      }
      await this.#giveUp(going);
      if (stopping.aborted || this.#bytes <= retentionBytes) return;
    }
  }

  async #giveUp(events: readonly WebhookEvent[]): Promise<void> {
    await this.remove(events);
    this.#givenUp += events.length;
    this.#untold += events.length;
  }

  #tellGivenUp(): void {
    const now = performance.now();
    if (this.#untold === 0 || now < this.#toldAt + QUIET_MS) return;
    this.#options.gaveUp(this.#untold);
    this.#untold = 0;
    this.#toldAt = now;
  }

  /** Counts what waits: all of it now and then, in between what this node adds. */
  async #measure(stopping: AbortSignal): Promise<void> {
    const { queue } = this.#options;
    const { stored } = queue;
    this.#bytes += stored.bytes - this.#counted.bytes;
    this.#waiting += stored.events - this.#counted.events;
    this.#counted = { ...stored };
    const started = performance.now();
    if (started < this.#measureAt) return;
    const { lastId } = this.#counted;
    let [events, bytes] = [0, 0];
    for await (const page of queue.pages()) {
      if (stopping.aborted) return;
      // What this node stores meanwhile is counted afterwards.
      const counted = page.filter(({ id, node }) => node !== queue.node || id <= lastId);
      events += counted.length;
      bytes += bytesOf(counted);
    }
    this.#waiting = events;
    this.#bytes = bytes;
    const took = performance.now() - started;
    this.#measureAt = performance.now() + Math.max(MEASURE_EVERY_MS, took / MEASURE_PART);
  }
}

function bytesOf(events: readonly WebhookEvent[]): number {
  return events.reduce((sum, event) => sum + weigh(event), 0);
}
