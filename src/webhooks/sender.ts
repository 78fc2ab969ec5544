import { randomUUID } from 'node:crypto';
import { backoff } from '../model/backoff.js';
import { pause, waitBriefly } from '../model/pause.js';
import { reasonOf } from '../model/reason.js';
import { nextTurn } from '../model/turns.js';
import type { Lease, Store } from '../storage/store.js';
import { bodyOf, type WebhookEvent, weigh } from './event.js';
import type { EventQueue } from './queue.js';
import { type Receiver, WrongStatus } from './receiver.js';

const MAX_EVENTS = 100;
// Below the megabyte that nginx and others take by default.
const MAX_BODY_BYTES = 512 * 1024;
const TOO_LARGE = 413;
const LONGEST_PAUSE_MS = 60_000;
// How often to look for events of other nodes, and whether this node may send now.
const LOOK_MS = 500;
const PAGE = 500;
const FINISH_MS = 1000;
const QUIET_MS = 10_000;
const MEASURE_EVERY_MS = 30_000;
// Measuring takes at most this part of the time.
const MEASURE_PART = 0.05;
/** Behind every key. */
const END = '~';

/** A request that is under way. If it is repeated, also after a crash, it is the same. */
export interface Batch {
  readonly id: string;
  /** Ids of its events. */
  readonly events: readonly string[];
}

export interface SenderStatus {
  /** Whether this node sends. With several nodes, one does. */
  readonly sending: boolean;
  /** Events that PHP has not taken. Only the node that sends knows. */
  readonly waiting?: number;
  /** Events that PHP has taken from this node. */
  readonly taken: number;
  /** Attempts that failed. */
  readonly failed: number;
  /** Events that were given up: too old, too many bytes, or they could not be stored. */
  readonly dropped: number;
  /** Present if the last attempt failed, on the node that sends. */
  readonly lastError?: { readonly at: string; readonly reason: string };
}

interface SenderOptions {
  readonly receiver: Receiver;
  readonly queue: EventQueue;
  readonly batches: Store<Batch>;
  readonly lease: Lease;
  /** Whether other nodes add events to the queue. */
  readonly isShared: boolean;
  readonly retentionSeconds: number;
  readonly retentionBytes: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told of the first of several requests in a row that PHP did not take. */
  readonly refused: (reason: string) => void;
  /** Told of events that were given up, at most once in ten seconds: how many these were since the last time. */
  readonly gaveUp: (events: number) => void;
  /** Told of the first of several failures of the stores or the lease in a row. */
  readonly failed: (error: unknown) => void;
}

/** PHP did not take a request. */
class Refusal extends Error {}

/** Sends the events to PHP: one request at a time, in order, each until it is taken. */
export class Sender {
  readonly #options: SenderOptions;
  readonly #stopping = new AbortController();
  #wake = new AbortController();
  #running: Promise<void> | undefined;
  /** Called when nothing waits any more. */
  #onEmpty: (() => void) | undefined;
  #refusals = 0;
  #taken = 0;
  #failed = 0;
  #dropped = 0;
  #waiting = 0;
  #bytes = 0;
  /** What this node had stored when it was counted last. */
  #counted = { events: 0, bytes: 0 };
  #measureAt = 0;
  /** Events that were given up and that nobody was told of yet. */
  #untold = 0;
  #toldAt = Number.NEGATIVE_INFINITY;
  /** Fewer than usual after a request was too large. */
  #maxEvents = MAX_EVENTS;
  #lastError: SenderStatus['lastError'];

  constructor(options: SenderOptions) {
    this.#options = options;
    options.queue.watch(() => this.#wake.abort());
  }

  get status(): SenderStatus {
    const { lease, queue } = this.#options;
    const sending = lease.isHeld;
    return {
      sending,
      ...(sending && { waiting: this.#waiting + queue.stored.events - this.#counted.events }),
      taken: this.#taken,
      failed: this.#failed,
      dropped: this.#dropped + queue.dropped,
      ...(sending && this.#lastError !== undefined && { lastError: this.#lastError }),
    };
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** What cannot be sent within a second waits for the next start. A request that is broken off is repeated then. */
  async stop(): Promise<void> {
    if (this.#running !== undefined && this.#lastError === undefined && this.#options.lease.isHeld) {
      const empty = new Promise<void>(resolve => {
        this.#onEmpty = resolve;
      });
      this.#wake.abort();
      await waitBriefly(empty, FINISH_MS);
    }
    this.#stopping.abort();
    this.#wake.abort();
    this.#options.receiver.stop();
    await this.#running;
    // Another node may go on at once. If Redis does not answer, the lease runs out by itself.
    await this.#options.lease.release().catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { lease, isShared } = this.#options;
    let areStoresFailing = false;
    while (!signal.aborted) {
      const wake = new AbortController();
      this.#wake = wake;
      try {
        const isHeld = await lease.hold();
        const hasSent = isHeld && (await this.#sendNext());
        if (!hasSent) this.#onEmpty?.();
        areStoresFailing = false;
        if (!isHeld) await pause(LOOK_MS, signal);
        else if (!hasSent) await pause(isShared ? LOOK_MS : MEASURE_EVERY_MS, wake.signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refusal) {
          this.#note(error.message);
          await this.#waitAfterRefusal(signal);
        } else {
          // The pauses do not grow: PHP has nothing to do with it.
          if (!areStoresFailing) this.#options.failed(error);
          areStoresFailing = true;
          await pause(LOOK_MS, signal);
        }
      }
    }
  }

  #note(reason: string): void {
    if (this.#refusals++ === 0) this.#options.refused(reason);
    this.#failed++;
    this.#lastError = { at: new Date(this.#options.now()).toISOString(), reason };
  }

  /** The lease is kept meanwhile: another node would fare no better. */
  async #waitAfterRefusal(signal: AbortSignal): Promise<void> {
    // A random part, so that many servers do not come back to PHP together.
    const until = performance.now() + backoff(this.#refusals, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2);
    for (let left = until - performance.now(); left > 0; left = until - performance.now()) {
      await pause(Math.min(left, LOOK_MS), signal);
      if (signal.aborted || !(await this.#options.lease.hold().catch(() => false))) return;
      await this.#giveUpTooMany().catch(() => undefined);
    }
  }

  /** Sends the oldest events. Resolves to false if there are none. Rejects if they were not taken. */
  async #sendNext(): Promise<boolean> {
    await this.#giveUpTooMany();
    const { queue, batches } = this.#options;
    // Each request has a record of its own: a node that was late must not remove that of another.
    const [begun] = (await batches.range('', END, 1)).map(([, batch]) => batch);
    const found =
      begun === undefined ? fitting(await queue.head(this.#maxEvents)) : await queue.get(begun.events);
    const events = await this.#giveUpOld(found);
    if (events.length > 0) {
      const batch = begun ?? { id: `msg_${randomUUID()}`, events: events.map(({ id }) => id) };
      if (begun === undefined) await batches.put(batch.id, batch);
      await this.#post(batch.id, events);
      this.#refusals = 0;
      this.#lastError = undefined;
      this.#maxEvents = MAX_EVENTS;
      this.#taken += events.length;
      await this.#remove(events);
      await batches.remove(batch.id);
    } else if (begun !== undefined) await batches.remove(begun.id);
    return begun !== undefined || found.length > 0;
  }

  /** Keeps the lease meanwhile: PHP may take longer than it lasts. If another node has it, that one sends. */
  async #post(id: string, events: readonly WebhookEvent[]): Promise<void> {
    const { lease, receiver, batches } = this.#options;
    const end = () => receiver.end('Another node sends now.');
    const timer = setInterval(() => {
      lease.hold().then(
        isOurs => isOurs || end(),
        () => lease.isHeld || end(),
      );
    }, LOOK_MS);
    try {
      await receiver.post(id, bodyOf(events));
    } catch (error) {
      if (error instanceof WrongStatus && error.status === TOO_LARGE && events.length > 1) {
        // The same events in smaller requests: another request, so another id.
        this.#maxEvents = Math.ceil(events.length / 2);
        await batches.remove(id);
      }
      throw new Refusal(reasonOf(error), { cause: error });
    } finally {
      clearInterval(timer);
    }
  }

  /** Gives up events that are too old. Resolves to the others. */
  async #giveUpOld(events: readonly WebhookEvent[]): Promise<readonly WebhookEvent[]> {
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
  async #giveUpTooMany(): Promise<void> {
    await this.#measure();
    if (this.#bytes <= this.#options.retentionBytes) return this.#tellGivenUp();
    await this.#giveUpOldest(({ type }) => type !== 'message' && type !== 'notification.missed');
    await this.#giveUpOldest(() => true);
    this.#tellGivenUp();
  }

  async #giveUpOldest(mayGo: (event: WebhookEvent) => boolean): Promise<void> {
    const { queue, retentionBytes } = this.#options;
    for (let id = ''; this.#bytes > retentionBytes && !this.#stopping.signal.aborted; ) {
      const page = await queue.after(id, PAGE);
      id = page.at(-1)?.id ?? id;
      let left = this.#bytes;
      const going: WebhookEvent[] = [];
      for (const event of page) {
        if (left <= retentionBytes) break;
        if (!mayGo(event)) continue;
        going.push(event);
        left -= weigh(event);
      }
      await this.#giveUp(going);
      if (page.length < PAGE) return;
      // The disk answers at once.
      await nextTurn();
    }
  }

  #tellGivenUp(): void {
    const now = performance.now();
    if (this.#untold === 0 || now < this.#toldAt + QUIET_MS) return;
    this.#options.gaveUp(this.#untold);
    this.#untold = 0;
    this.#toldAt = now;
  }

  async #giveUp(events: readonly WebhookEvent[]): Promise<void> {
    await this.#remove(events);
    this.#dropped += events.length;
    this.#untold += events.length;
  }

  async #remove(events: readonly WebhookEvent[]): Promise<void> {
    await this.#options.queue.remove(events);
    this.#waiting = Math.max(0, this.#waiting - events.length);
    this.#bytes = Math.max(0, this.#bytes - bytesOf(events));
  }

  /** Counts what waits: all of it now and then, in between what this node adds. */
  async #measure(now = false): Promise<void> {
    const { queue } = this.#options;
    const { stored } = queue;
    this.#bytes += stored.bytes - this.#counted.bytes;
    this.#waiting += stored.events - this.#counted.events;
    this.#counted = { ...stored };
    const started = performance.now();
    if (!now && started < this.#measureAt) return;
    let [events, bytes] = [0, 0];
    for (let id = ''; !this.#stopping.signal.aborted; ) {
      const page = await queue.after(id, PAGE);
      events += page.length;
      bytes += bytesOf(page);
      id = page.at(-1)?.id ?? id;
      if (page.length < PAGE) break;
      // The disk answers at once.
      await nextTurn();
    }
    this.#waiting = events;
    this.#bytes = bytes;
    this.#counted = { ...stored };
    const took = performance.now() - started;
    this.#measureAt = performance.now() + Math.max(MEASURE_EVERY_MS, took / MEASURE_PART);
  }
}

/** The first events, as many as fit into one request; at least one. */
function fitting(events: readonly WebhookEvent[]): readonly WebhookEvent[] {
  let bytes = 0;
  const end = events.findIndex(event => {
    bytes += weigh(event);
    return bytes > MAX_BODY_BYTES;
  });
  return end < 0 ? events : events.slice(0, Math.max(1, end));
}

function bytesOf(events: readonly WebhookEvent[]): number {
  return events.reduce((sum, event) => sum + weigh(event), 0);
}
