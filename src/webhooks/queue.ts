import { backoff } from '../model/backoff.js';
import type { Clock } from '../model/clock.js';
import { Fifo } from '../model/fifo.js';
import { pause } from '../model/pause.js';
import { SortableIds } from '../model/sortable-ids.js';
import { END, pagesOf, type Store } from '../storage/store.js';
import { type Happening, type WebhookEvent, weigh } from './event.js';

const GROUP = 500;
const LONGEST_PAUSE_MS = 2000;
// Of the events that wait in memory because they cannot be stored now. The oldest go first.
const MAX_UNSTORED_BYTES = 16 * 1024 * 1024;
const PAGE = 500;

interface Unstored {
  readonly event: WebhookEvent;
  readonly bytes: number;
  readonly done: (isStored: boolean) => void;
}

/** The events that PHP has not taken yet, in order, in a store that all nodes share. */
export class EventQueue {
  /** Events that were dropped because they could not be stored for too long. */
  dropped = 0;
  /** What this node has stored since it started, and the last event of that. */
  readonly stored = { events: 0, bytes: 0, lastId: '' };
  /** The node whose events are added here. */
  readonly node: string;
  readonly #store: Store<WebhookEvent>;
  readonly #ids: SortableIds;
  readonly #clock: Clock;
  readonly #failed: (error: unknown) => void;
  readonly #stopping = new AbortController();
  readonly #unstored = new Fifo<Unstored>();
  #unstoredBytes = 0;
  #storing: Promise<void> | undefined;
  #wake: () => void = () => undefined;

  constructor(options: {
    store: Store<WebhookEvent>;
    node: string;
    clock: Clock;
    /** Told once of events that cannot be stored. It is tried again. */
    failed: (error: unknown) => void;
  }) {
    this.#store = options.store;
    this.node = options.node;
    this.#ids = new SortableIds(options.node);
    this.#clock = options.clock;
    this.#failed = options.failed;
  }

  /**
   * Adds an event. Events of this node keep their order. Resolves to true when it is durable, or to false if it had to
   * be dropped. Never rejects.
   */
  add(happening: Happening): Promise<boolean> {
    const now = this.#clock.now();
    const event = {
      id: this.#ids.next(now),
      at: new Date(now).toISOString(),
      node: this.node,
      ...happening,
    };
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

  /** All events, in order, in pages. */
  async *pages(): AsyncGenerator<WebhookEvent[], void> {
    for await (const page of pagesOf(this.#store, '', END, PAGE)) yield page.map(([, event]) => event);
  }

  /** Removes events that were taken, or given up. Resolves when that is durable. */
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
      this.stored.lastId = group.at(-1)?.event.id ?? this.stored.lastId;
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
}
