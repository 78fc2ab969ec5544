import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Postroom } from '../core/postroom.js';
import { elementTexts } from '../model/json.js';
import {
  type KeyBeside,
  maxBodyBytes,
  type Notification,
  type ParseNotifications,
} from '../model/notification.js';
import { Problem } from '../model/problem.js';
import { reasonOf } from '../model/reason.js';
import { inTurns } from '../model/turns.js';

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

/** A notification, and where it came from. */
interface Accepted<M extends Message> {
  readonly notification: Notification;
  readonly letter: Letter<M>;
  /** Its text where it is one of a batch. */
  readonly text: () => string | undefined;
}

/** A message, and what of it can never be taken. */
interface Letter<M extends Message> {
  readonly message: M;
  /** Those notifications of a batch that were refused; where it is none, or can't be read, the message as a whole is. */
  readonly texts: string[];
  readonly problems: Problem[];
}

/** Why a notification was not taken. */
interface Failure {
  readonly reason: unknown;
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
    const letters: Letter<M>[] = [];
    const accepted: Accepted<M>[] = [];
    for (const message of messages) {
      const letter = { message, texts: [], problems: [] };
      letters.push(letter);
      accepted.push(...(await this.#open(letter)));
      if (accepted.length >= MOST_AT_ONCE) await this.#publish(accepted.splice(0));
    }
    await this.#publish(accepted);
    return letters.filter(({ problems }) => problems.length > 0).map(letter => this.#refused(letter));
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

  /** The notifications in a message; those that can't be taken are noted in the letter. */
  async #open<M extends Message>(letter: Letter<M>): Promise<Accepted<M>[]> {
    const { body, key, translate } = letter.message;
    try {
      const given = textOf(body, this.#maxBodyBytes);
      const text = translate === undefined ? given : translate(given);
      const { batch, items } = this.#options.parse(text, this.#keyBeside(key));
      const outcomes: (Notification | Problem)[] = [];
      await inTurns(items, item => outcomes.push(item));
      // Only what is refused needs them.
      let texts: string[] | undefined;
      const textAt = (index: number) => {
        if (!batch) return undefined;
        texts ??= [...elementTexts(text)];
        return texts[index];
      };
      return outcomes.flatMap((outcome, index) => {
        if (!(outcome instanceof Problem))
          return [{ notification: outcome, letter, text: () => textAt(index) }];
        refuse(letter, outcome, textAt(index));
        return [];
      });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      refuse(letter, error, undefined);
      return [];
    }
  }

  /** Makes a key if none came: an append that failed over the network may have succeeded, and is tried again. */
  #keyBeside(key: string | undefined): KeyBeside | undefined {
    if (key !== undefined) return { key, chosen: false };
    return this.#options.sharedJournal ? { key: randomUUID(), chosen: false } : undefined;
  }

  #refused<M extends Message>({ message, texts, problems }: Letter<M>): Refused<M> {
    this.refused += problems.length;
    const told = problems.slice(0, MOST_REASONS).map(problem => problem.message);
    if (problems.length > told.length) told.push(`and ${problems.length - told.length} more`);
    const reason = told.join(' ');
    this.#note(`a message was refused: ${reason}`);
    this.#log.warn({ reason }, 'a message was refused');
    return { message, body: texts.length === 0 ? message.body : `[${texts.join()}]`, reason };
  }

  #note(reason: string): void {
    this.lastError = { at: this.#options.now(), reason };
  }

  /** All of them one after the other, so that they share commits and keep their order; again and again those that failed. */
  async #publish(accepted: readonly Accepted<Message>[]): Promise<void> {
    let left = accepted;
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      const published: Promise<Failure | undefined>[] = [];
      let failure: Failure | undefined;
      await inTurns(left, ({ notification }) => {
        // Behind one that failed none is tried: it would go before that one.
        const attempt = failure === undefined ? this.#attempt(notification) : Promise.resolve(failure);
        published.push(attempt);
        void attempt.then(failed => {
          if (failed !== undefined && !isFinal(failed.reason)) failure ??= failed;
        });
      });
      const failures = await Promise.all(published);
      left = left.filter(({ letter, text }, place) => {
        const failed = failures[place];
        if (failed === undefined) this.taken++;
        else if (isFinal(failed.reason)) refuse(letter, failed.reason, text());
        return failed !== undefined && !isFinal(failed.reason);
      });
      if (left.length === 0) {
        if (pause > FIRST_PAUSE_MS) this.recovered('the journal takes them again');
        return;
      }
      if (this.stopping.aborted) throw new Stopped();
      this.failed('the journal does not take it', failure?.reason);
      await this.#pause(pause);
    }
  }

  async #attempt(notification: Notification): Promise<Failure | undefined> {
    try {
      const receipt = await this.#options.postroom.publish(notification);
      const { event, addresses } = notification;
      this.#log.debug({ ...receipt, event, addresses }, 'published');
      return undefined;
    } catch (reason) {
      return { reason };
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

/** Whether a notification would be refused however often it is tried. */
function isFinal(reason: unknown): reason is Problem {
  return reason instanceof Problem && reason.code === 'key_reused';
}

/** Notes what can't be taken. @param text of one notification of a batch */
function refuse(letter: Letter<Message>, problem: Problem, text: string | undefined): void {
  letter.problems.push(problem);
  if (text !== undefined) letter.texts.push(text);
}

function textOf(body: Buffer | string, maxBytes: number): string {
  const bytes = Buffer.byteLength(body);
  if (bytes > maxBytes)
    throw new Problem('payload_too_large', `The message has ${bytes} bytes; the limit is ${maxBytes}.`);
  if (typeof body === 'string') return body;
  if (!isUtf8(body)) throw new Problem('invalid_json', 'The message is not valid UTF-8.');
  return body.toString();
}
