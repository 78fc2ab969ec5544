import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Postroom } from '../core/postroom.js';
import {
  type KeyBeside,
  maxBodyBytes,
  type Notification,
  type ParseNotifications,
} from '../model/notification.js';
import { pause } from '../model/pause.js';
import { invalidNotification, Problem } from '../model/problem.js';
import { reasonOf } from '../model/reason.js';
import { inTurns } from '../model/turns.js';
import { backoff } from '../model/backoff.js';
import { Letter, type Message, type Refused, textOf } from './message.js';

const LONGEST_PAUSE_MS = 2000;
// With so many notifications in memory, the intake publishes them before it reads more messages.
const MOST_AT_ONCE = 1000;
const WARNING_INTERVAL_MS = 10_000;

export interface IntakeOptions {
  /** The source's name, for the log. */
  readonly name: string;
  readonly postroom: Pick<Postroom, 'accept'>;
  readonly parse: ParseNotifications;
  readonly maxNotificationBytes: number;
  /** Whether nodes share the journal over a network: an append that failed may have succeeded. */
  readonly sharedJournal: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** A notification that can be published. */
interface Accepted {
  readonly notification: Notification;
  readonly letter: Letter<Message>;
  /** Its index in the message, if that is a batch. */
  readonly index: number;
}

/** Why a notification was not published. */
interface Failure {
  readonly reason: unknown;
}

/** `take` rejects with it when the server stops. The source must not acknowledge the messages. */
export class Stopped extends Error {
  constructor() {
    super('the server stops');
    this.name = 'Stopped';
  }
}

/** Takes the messages of one source: checks them and publishes their notifications. */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #maxBodyBytes: number;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  /** Notifications accepted, including those with a repeated key. */
  taken = 0;
  /** Messages, and notifications of batches, that were refused for good. */
  refused = 0;
  /** The last fault of the broker, the journal or a message; `at` in milliseconds since the epoch. */
  lastError: { readonly at: number; readonly reason: string } | undefined;
  /** What is wrong now. */
  #trouble: string | undefined;
  readonly #warned = new Map<string, number>();

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#maxBodyBytes = maxBodyBytes(options.maxNotificationBytes);
    this.#log = options.log.child({ source: options.name });
  }

  /**
   * Takes messages in order. Resolves to the refused messages, when the journal has all the others. While the journal
   * cannot write, this waits and tries again: a source that waits for this too never holds too many messages. Rejects
   * with `Stopped` when the server stops.
   */
  async take<M extends Message>(messages: readonly M[]): Promise<Refused<M>[]> {
    const letters: Letter<M>[] = [];
    const accepted: Accepted[] = [];
    for (const message of messages) {
      const letter = new Letter(message);
      letters.push(letter);
      accepted.push(...(await this.#open(letter)));
      if (accepted.length >= MOST_AT_ONCE) await this.#publish(accepted.splice(0));
    }
    await this.#publish(accepted);
    return letters.filter(({ problems }) => problems > 0).map(letter => this.#refused(letter));
  }

  /**
   * Notes that the broker or the journal has a fault, and that the source tries again. Logs the same fault once until
   * `recovered`. Does nothing while the server stops: connections end then.
   */
  failed(what: string, error: unknown): void {
    if (this.stopping.aborted) return;
    const reason = reasonOf(error);
    this.#note(`${what}: ${reason}`);
    if (what !== this.#trouble) this.#log.warn({ reason }, what);
    this.#trouble = what;
  }

  /** Notes something that happened and is over. Logs each sentence at most every ten seconds. */
  warn(what: string): void {
    const now = this.#options.now();
    this.#note(what);
    if (now < (this.#warned.get(what) ?? 0) + WARNING_INTERVAL_MS) return;
    this.#warned.set(what, now);
    this.#log.warn(what);
  }

  /** Notes that the source works, for the first time or again. */
  recovered(what: string): void {
    this.#trouble = undefined;
    this.#log.info(what);
  }

  /** Ends every `take` that waits for the journal: it rejects with `Stopped`. */
  stop(): void {
    this.#stopping.abort(new Stopped());
  }

  /** Aborted, with `Stopped` as the reason, when the server stops. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Returns the notifications of a message that can be published. Adds the problems of the others to the letter. */
  async #open(letter: Letter<Message>): Promise<Accepted[]> {
    try {
      const text = textOf(letter.message, this.#maxBodyBytes);
      const { batch, items } = this.#options.parse(text, this.#keyBeside(letter.message.key));
      const outcomes: (Notification | Problem)[] = [];
      await inTurns(items, item => outcomes.push(withoutWait(item)));
      if (batch) letter.batch = text;
      return outcomes.flatMap((outcome, index) => {
        if (!(outcome instanceof Problem)) return [{ notification: outcome, letter, index }];
        letter.addProblem(outcome, index);
        return [];
      });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      letter.addProblem(error);
      return [];
    }
  }

  /** Makes a key if none came: an append that failed over the network may have succeeded, and is tried again. */
  #keyBeside(key: string | undefined): KeyBeside | undefined {
    if (key !== undefined) return { key, chosen: false };
    return this.#options.sharedJournal ? { key: randomUUID(), chosen: false } : undefined;
  }

  #refused<M extends Message>(letter: Letter<M>): Refused<M> {
    const refused = letter.refused();
    const { reason } = refused;
    this.refused += letter.problems;
    this.#note(`a message was refused: ${reason}`);
    this.#log.warn({ reason }, 'a message was refused');
    return refused;
  }

  #note(reason: string): void {
    this.lastError = { at: this.#options.now(), reason };
  }

  /** Publishes notifications in order. Tries those that fail again, until the journal has all of them. */
  async #publish(accepted: readonly Accepted[]): Promise<void> {
    let left = accepted;
    for (let failures = 1; ; failures++) {
      const { failed, failure } = await this.#publishOnce(left);
      if (failure === undefined) {
        if (failures > 1) this.recovered('the journal takes them again');
        return;
      }
      this.stopping.throwIfAborted();
      this.failed('the journal does not take it', failure.reason);
      await pause(backoff(failures, LONGEST_PAUSE_MS), this.stopping);
      this.stopping.throwIfAborted();
      left = failed;
    }
  }

  /**
   * Tries each notification once, in order. Does not wait for one before it starts the next: so they share commits.
   * Resolves to the notifications that failed, with the first failure.
   */
  async #publishOnce(
    accepted: readonly Accepted[],
  ): Promise<{ failed: Accepted[]; failure: Failure | undefined }> {
    const attempts: Promise<Failure | undefined>[] = [];
    let failure: Failure | undefined;
    await inTurns(accepted, ({ notification }) => {
      // After a failure nothing more is published: it would come before the notification that failed.
      const attempt = failure === undefined ? this.#attempt(notification) : Promise.resolve(failure);
      attempts.push(attempt);
      void attempt.then(result => {
        if (result !== undefined && !isFinal(result.reason)) failure ??= result;
      });
    });
    const results = await Promise.all(attempts);
    const failed = accepted.filter(({ letter, index }, position) => {
      const result = results[position];
      if (result === undefined) this.taken++;
      else if (isFinal(result.reason)) letter.addProblem(result.reason, index);
      return result !== undefined && !isFinal(result.reason);
    });
    return { failed, failure };
  }

  async #attempt(notification: Notification): Promise<Failure | undefined> {
    try {
      const receipt = await this.#options.postroom.accept(notification);
      const { event, addresses } = notification;
      this.#log.debug({ ...receipt, event, addresses }, 'published');
      return undefined;
    } catch (reason) {
      return { reason };
    }
  }
}

/** Whether the journal will never take the notification. */
function isFinal(reason: unknown): reason is Problem {
  return reason instanceof Problem && reason.code === 'key_reused';
}

/** Nobody gets the answer that a notification of a broker would wait for. */
function withoutWait(item: Notification | Problem): Notification | Problem {
  if (item instanceof Problem || item.wait === undefined) return item;
  const message = 'is for POST /notify: a broker gets no answer that could wait';
  return invalidNotification([{ path: 'wait', message }]);
}
