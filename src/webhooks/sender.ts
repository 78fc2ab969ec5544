import { randomUUID } from 'node:crypto';
import { backoff } from '../model/backoff.js';
import { pause, waitBriefly } from '../model/pause.js';
import { reasonOf } from '../model/reason.js';
import { END, type Lease, type Store } from '../storage/store.js';
import type { Backlog } from './backlog.js';
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
const FINISH_MS = 1000;
// How long to wait for events of this node, which wake the sender: meanwhile old events may become too old.
const IDLE_MS = 30_000;

/** A request that is under way. If it is repeated, also after a crash, it is the same. */
export interface Batch {
  readonly id: string;
  /** Ids of its events. */
  readonly events: readonly string[];
}

/** How sending goes, for operators. */
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
  readonly backlog: Backlog;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told of the first of several requests in a row that PHP did not take. */
  readonly refused: (reason: string) => void;
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
  /** Fewer than usual after a request was too large. */
  #maxEvents = MAX_EVENTS;
  #lastError: SenderStatus['lastError'];

  constructor(options: SenderOptions) {
    this.#options = options;
    options.queue.watch(() => this.#wake.abort());
  }

  get status(): SenderStatus {
    const { lease, backlog } = this.#options;
    const sending = lease.isHeld;
    return {
      sending,
      ...(sending && { waiting: backlog.waiting }),
      taken: this.#taken,
      failed: this.#failed,
      dropped: backlog.dropped,
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
        else if (!hasSent) await pause(isShared ? LOOK_MS : IDLE_MS, wake.signal);
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
      // A store that fails here is told by the next look, which trims again.
      await this.#options.backlog.trim(signal).catch(() => undefined);
    }
  }

  /** Sends the oldest events. Resolves to false if there are none. Rejects if they were not taken. */
  async #sendNext(): Promise<boolean> {
    const { queue, batches, backlog } = this.#options;
    await backlog.trim(this.#stopping.signal);
    // Each request has a record of its own: a node that was late must not remove that of another.
    const [begun] = (await batches.range('', END, 1)).map(([, batch]) => batch);
    const found =
      begun === undefined ? fitting(await queue.head(this.#maxEvents)) : await queue.get(begun.events);
    const events = await backlog.withoutOld(found);
    if (events.length > 0) {
      const batch = begun ?? { id: `msg_${randomUUID()}`, events: events.map(({ id }) => id) };
      if (begun === undefined) await batches.put(batch.id, batch);
      await this.#post(batch.id, events);
      this.#refusals = 0;
      this.#lastError = undefined;
      this.#maxEvents = MAX_EVENTS;
      this.#taken += events.length;
      await backlog.remove(events);
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
