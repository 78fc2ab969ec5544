import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Postroom } from '../core/postroom.js';
import { elementTexts } from '../model/json.js';
import {
  type KeyBeside,
  type Notification,
  type ParseNotifications,
  maxBodyBytes,
} from '../model/notification.js';
import { Problem } from '../model/problem.js';
import { reasonOf } from '../model/reason.js';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;
// With so many notifications in hand they are published, before more messages are opened.
const MOST_AT_ONCE = 1000;
const WARNING_INTERVAL_MS = 10_000;
// Of a batch with many faults, so many are told.
const MOST_REASONS = 5;

/** What a broker brings. */
export interface Message {
  /** A body as `POST /notify` takes it: JSON, one notification or a batch. */
  readonly body: Buffer | string;
  /** What stands for this message wherever it is delivered again: its idempotency key where the body has none. */
  readonly key?: string | undefined;
  /** What the body says in our JSON, where that is not what it is. Throws a Problem where it says nothing. */
  readonly translate?: (text: string) => string;
}

/** What cannot be taken, ever: it belongs into the dead-letter place. */
export interface Refused<M extends Message> {
  readonly message: M;
  /** The message's, or those notifications of a batch that were refused, as a batch. */
  readonly body: Buffer | string;
  /** What to change, in one line. */
  readonly reason: string;
}

export interface IntakeOptions {
  /** The source's name, for the log. */
  readonly name: string;
  readonly postroom: Pick<Postroom, 'publish'>;
  readonly parse: ParseNotifications;
  readonly maxNotificationBytes: number;
  /** Whether the journal is over a network, and may have taken what it could not confirm. */
  readonly sharedJournal: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** What is in a message: what to publish, and what cannot be. */
interface Opened {
  readonly notifications: readonly Notification[];
  readonly refusal?: { readonly body: Buffer | string; readonly reason: string };
}

/** Rejects what `take` has under way: the server stops. Nothing of it may be acknowledged. */
export class Stopped extends Error {
  constructor() {
    super('the server stops');
    this.name = 'Stopped';
  }
}

/** Where a source hands in what it took: the same checks, the same journal for all of them. */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #maxBodyBytes: number;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  /** Notifications accepted, those with a repeated key included. */
  taken = 0;
  /** Messages, and items of batches, that were refused for good. */
  refused = 0;
  /** What went wrong last, with the broker, the journal or a message, and when, in milliseconds since the epoch. */
  lastError: { readonly at: number; readonly reason: string } | undefined;
  /** What is wrong now, so that it is logged once. */
  #trouble: string | undefined;
  readonly #warned = new Map<string, number>();

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#maxBodyBytes = maxBodyBytes(options.maxNotificationBytes);
    this.#log = options.log.child({ source: options.name });
  }

  /**
   * Takes messages, in their order. Resolves when every one is in the journal or refused for good, with what was
   * refused. While the journal cannot take them it waits and tries again: a source that waits for this before it
   * takes more never holds more than it was given. Rejects with `Stopped` when the server stops meanwhile.
   */
  async take<M extends Message>(messages: readonly M[]): Promise<Refused<M>[]> {
    const refused: Refused<M>[] = [];
    const accepted: Notification[] = [];
    for (const message of messages) {
      const { notifications, refusal } = this.#open(message);
      accepted.push(...notifications);
      if (refusal !== undefined) refused.push({ message, ...refusal });
      if (accepted.length >= MOST_AT_ONCE) await this.#publish(accepted.splice(0));
    }
    await this.#publish(accepted);
    return refused;
  }

  /** Notes that the source, or the journal, has a fault and that it is tried again. Logged once until `recovered`. */
  failed(what: string, error: unknown): void {
    const reason = reasonOf(error);
    this.#note(`${what}: ${reason}`);
    if (what !== this.#trouble) this.#log.warn({ reason }, what);
    this.#trouble = what;
  }

  /** Notes something that happened, and is over; logged every ten seconds at the most. */
  warn(what: string): void {
    const now = this.#options.now();
    this.#note(what);
    if (now < (this.#warned.get(what) ?? 0) + WARNING_INTERVAL_MS) return;
    this.#warned.set(what, now);
    this.#log.warn(what);
  }

  /** Notes that it works, for the first time or again. */
  recovered(what: string): void {
    this.#trouble = undefined;
    this.#log.info(what);
  }

  /** Lets what waits for the journal go: it rejects. */
  stop(): void {
    this.#stopping.abort();
  }

  /** Aborted when the server stops. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  #open({ body, key, translate }: Message): Opened {
    try {
      const given = textOf(body, this.#maxBodyBytes);
      const text = translate === undefined ? given : translate(given);
      const beside = this.#keyBeside(key);
      const { items } = this.#options.parse(text, beside);
      const notifications = items.filter(isNotification);
      if (notifications.length === items.length) return { notifications };
      const problems = items.filter(item => item instanceof Problem);
      const texts = elementTexts(text).filter((_, index) => items[index] instanceof Problem);
      return { notifications, refusal: { body: `[${texts.join()}]`, reason: this.#refuse(problems) } };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return { notifications: [], refusal: { body, reason: this.#refuse([error]) } };
    }
  }

  /** One of our own where there is none and what the journal refused it may have taken all the same: it is tried again. */
  #keyBeside(key: string | undefined): KeyBeside | undefined {
    if (key !== undefined) return { key, chosen: false };
    return this.#options.sharedJournal ? { key: randomUUID(), chosen: false } : undefined;
  }

  #refuse(problems: readonly Problem[]): string {
    this.refused += problems.length;
    const told = problems.slice(0, MOST_REASONS).map(problem => problem.message);
    if (problems.length > told.length) told.push(`and ${problems.length - told.length} more`);
    const reason = told.join(' ');
    this.#note(`a message was refused: ${reason}`);
    this.#log.warn({ reason }, 'a message was refused');
    return reason;
  }

  #note(reason: string): void {
    this.lastError = { at: this.#options.now(), reason };
  }

  /** All of them in one turn, so that they share a commit and keep their order; again and again those that failed. */
  async #publish(notifications: readonly Notification[]): Promise<void> {
    let left = notifications;
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      const outcomes = await Promise.allSettled(left.map(one => this.#options.postroom.publish(one)));
      const failure = outcomes.find(outcome => outcome.status === 'rejected');
      this.taken += outcomes.filter(outcome => outcome.status === 'fulfilled').length;
      if (failure === undefined) {
        if (pause > FIRST_PAUSE_MS) this.recovered('the journal takes them again');
        return;
      }
      left = left.filter((_, place) => outcomes[place]?.status === 'rejected');
      if (this.stopping.aborted) throw new Stopped();
      this.failed('the journal does not take it', failure.reason);
      await this.#pause(pause);
    }
  }

  async #pause(milliseconds: number): Promise<void> {
    const { signal } = this.#stopping;
    await new Promise<void>((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer);
        reject(new Stopped());
      };
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', stop);
        resolve();
      }, milliseconds);
      signal.addEventListener('abort', stop, { once: true });
    });
  }
}

function isNotification(item: Notification | Problem): item is Notification {
  return !(item instanceof Problem);
}

function textOf(body: Buffer | string, maxBytes: number): string {
  const bytes = Buffer.byteLength(body);
  if (bytes > maxBytes)
    throw new Problem('payload_too_large', `The message has ${bytes} bytes; the limit is ${maxBytes}.`);
  if (typeof body === 'string') return body;
  if (!isUtf8(body)) throw new Problem('invalid_json', 'The message is not valid UTF-8.');
  return body.toString();
}
