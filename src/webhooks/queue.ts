import { backoff } from '../model/backoff.js';
import type { Clock } from '../model/clock.js';
import { Fifo } from '../model/fifo.js';
import { pause } from '../model/pause.js';
import type { Store } from '../storage/store.js';
import { type Happening, type WebhookEvent, weigh } from './event.js';

const DIGITS = 15;
const SEQUENCE_DIGITS = 6;
const GROUP = 500;
const LONGEST_PAUSE_MS = 2000;
// Of the events that wait in memory because they cannot be stored now. The oldest go first.
const MAX_UNSTORED_BYTES = 16 * 1024 * 1024;
/** Behind every key. */
const END = '~';

interface Unstored {
  readonly event: WebhookEvent;
  readonly bytes: number;
  readonly done: (isStored: boolean) => void;
}

/** The events that PHP has not taken yet, in order, in a store that all nodes share. */
export class EventQueue {
  /** Events that were dropped because they could not be stored for too long. */
  dropped = 0;
  /** What this node has stored since it started. */
  readonly stored = { events: 0, bytes: 0 };
  readonly #store: Store<WebhookEvent>;
  readonly #node: string;
  readonly #clock: Clock;
  readonly #failed: (error: unknown) => void;
  readonly #stopping = new AbortController();
  readonly #unstored = new Fifo<Unstored>();
  #unstoredBytes = 0;
  #storing: Promise<void> | undefined;
  #lastMs = 0;
  #sequence = 0;
  #wake: () => void = () => undefined;

  constructor(options: {
    store: Store<WebhookEvent>;
    node: string;
    clock: Clock;
    /** Told once of events that cannot be stored. It is tried again. */
    failed: (error: unknown) => void;
  }) {
    this.#store = options.store;
    this.#node = options.node;
    this.#clock = options.clock;
    this.#failed = options.failed;
  }

  /**
   * Adds an event. Events of this node keep their order. Resolves to true when it is durable, or to false if it had to
   * be dropped. Never rejects.
   */
  add(happening: Happening): Promise<boolean> {
    const now = this.#clock.now();
    const event = { id: this.#newId(now), at: new Date(now).toISOString(), node: this.#node, ...happening };
    const bytes = weigh(event);
    return new Promise(done => {
      this.#unstored.push({ event, bytes, done });
      this.#unstoredBytes += bytes;
      while (this.#unstoredBytes > MAX_UNSTORED_BYTES) this.#drop();
      this.#storing ??= this.#storeAll();
    });
  }

  /** The oldest events, at most so many. */
  async head(limit: number): Promise<WebhookEvent[]> {
    return (await this.#store.range('', END, limit)).map(([, event]) => event);
  }

  /** The events with these ids that there still are, in order. */
  async get(ids: readonly string[]): Promise<WebhookEvent[]> {
    const events = await Promise.all(ids.map(id => this.#store.get(id)));
    return events.filter(event => event !== undefined);
  }

  /** The events behind an id, at most so many. */
  async after(id: string, limit: number): Promise<WebhookEvent[]> {
    return (await this.#store.range(`${id}\0`, END, limit)).map(([, event]) => event);
  }

  async remove(events: readonly WebhookEvent[]): Promise<void> {
    await Promise.all(events.map(({ id }) => this.#store.remove(id)));
  }

  /** Calls `wake` when events of this node were stored. */
  watch(wake: () => void): void {
    this.#wake = wake;
  }

  /** Resolves when all events of this node are stored, or that has failed once more. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#storing;
    while (this.#unstored.size > 0) this.#drop();
  }

  async #storeAll(): Promise<void> {
    const { signal } = this.#stopping;
    for (let failures = 0; this.#unstored.size > 0; ) {
      const first = this.#unstored.first;
      const size = Math.min(GROUP, this.#unstored.size);
      const group = Array.from({ length: size }, (_, at) => this.#unstored.at(first + at));
      try {
        await Promise.all(group.map(item => item && this.#store.put(item.event.id, item.event)));
      } catch (error) {
        if (failures++ === 0) this.#failed(error);
        if (signal.aborted) break;
        await pause(backoff(failures, LONGEST_PAUSE_MS), signal);
        continue;
      }
      failures = 0;
      // Some of them may have been dropped meanwhile.
      while (this.#unstored.first < first + size) this.#shift()?.done(true);
      this.stored.events += size;
      for (const item of group) this.stored.bytes += item?.bytes ?? 0;
      this.#wake();
    }
    this.#storing = undefined;
  }

  #shift(): Unstored | undefined {
    const item = this.#unstored.shift();
    this.#unstoredBytes -= item?.bytes ?? 0;
    return item;
  }

  #drop(): void {
    this.#shift()?.done(false);
    this.dropped++;
  }

  /** Ids of one node increase, also if the clock is set back. */
  #newId(now: number): string {
    if (now > this.#lastMs) {
      this.#lastMs = now;
      this.#sequence = 0;
    } else this.#sequence++;
    const time = String(this.#lastMs).padStart(DIGITS, '0');
    return `${time}-${String(this.#sequence).padStart(SEQUENCE_DIGITS, '0')}-${this.#node.slice(0, 8)}`;
  }
}
