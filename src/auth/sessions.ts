import { createHash } from 'node:crypto';
import { type After, type Clock, systemAfter, systemClock } from '../model/clock.js';
import { Fifo } from '../model/fifo.js';
import { failed, type SessionAnswer } from './session-answer.js';
import { SessionEndpoint, type Visitor } from './session-endpoint.js';

export type { SessionAnswer } from './session-answer.js';
export type { Visitor } from './session-endpoint.js';

const TIMEOUT_MS = 3000;
// With the time of the request, an ask takes 10 s at most.
const WAIT_MS = 7000;
const QUIET_MS = 10_000;
const GONE = failed('The client went away.');
const STOPPED = failed('The server is stopping.');

/** One visitor to ask for, and all who want to know. */
interface Question {
  readonly key: string;
  readonly visitor: Visitor;
  readonly answered: Set<(answer: SessionAnswer) => void>;
  /** Calls the end of its wait off; undefined when it has been asked. */
  callOff: (() => void) | undefined;
}

/**
 * Asks the backend who visitors are. However many come at once, the backend gets a bounded number of requests at a
 * time; the others wait in order. Visitors who are equal in all that is sent share a request: a backend may tie a
 * session to the address or to the browser, so the cookie alone is not enough.
 */
export class Sessions {
  /** Answers since the start that were no answers. */
  failures = 0;
  readonly #endpoint: SessionEndpoint;
  readonly #maxRequests: number;
  readonly #waitMs: number;
  readonly #clock: Clock;
  readonly #after: After;
  readonly #failed: (reason: string) => void;
  /** Those that wait and those that are being asked. */
  readonly #questions = new Map<string, Question>();
  /** Those that wait, and some that were dropped meanwhile. */
  #queue = new Fifo<Question>();
  #running = 0;
  #isFailing = false;
  #toldAt = Number.NEGATIVE_INFINITY;
  #isStopped = false;

  constructor(options: {
    /** http or https. */
    url: string;
    /** How many requests may run at a time. */
    maxRequests: number;
    /** Told of the first failure of an outage, at most once in ten seconds. The reason has no secrets. */
    failed: (reason: string) => void;
    /** How long the backend may take for a whole answer. */
    timeoutMs?: number;
    /** How long a question may wait before it is asked. */
    waitMs?: number;
    clock?: Clock;
    after?: After;
  }) {
    const { url, maxRequests, timeoutMs = TIMEOUT_MS, clock = systemClock, after = systemAfter } = options;
    this.#endpoint = new SessionEndpoint({ url, maxRequests, timeoutMs, now: () => clock.now(), after });
    this.#maxRequests = maxRequests;
    this.#waitMs = options.waitMs ?? WAIT_MS;
    this.#clock = clock;
    this.#after = after;
    this.#failed = options.failed;
  }

  /** How many requests run now. */
  get running(): number {
    return this.#running;
  }

  /** How many questions wait for others. */
  get waiting(): number {
    return this.#questions.size - this.#running;
  }

  /**
   * Who a visitor is. Never rejects, and always ends. Without a cookie nobody is asked.
   * @param signal aborts when the client has gone away; if it was the last who wanted to know, nobody is asked
   */
  ask(visitor: Visitor, signal?: AbortSignal): Promise<SessionAnswer> {
    if (visitor.cookie === '') return Promise.resolve({ kind: 'nobody' });
    if (this.#isStopped) return Promise.resolve(STOPPED);
    if (signal?.aborted) return Promise.resolve(GONE);
    const { cookie, origin, userAgent, address } = visitor;
    const key = createHash('sha256')
      .update(JSON.stringify([cookie, origin, userAgent, address]))
      .digest('base64');
    const question = this.#questions.get(key) ?? this.#put(key, visitor);
    return new Promise(resolve => {
      const answered = (answer: SessionAnswer) => {
        signal?.removeEventListener('abort', leave);
        resolve(answer);
      };
      const leave = () => {
        question.answered.delete(answered);
        // A request that runs goes on: the backend would not notice, and then have more than the bound at a time.
        if (question.answered.size === 0 && question.callOff !== undefined) this.#drop(question);
        resolve(GONE);
      };
      question.answered.add(answered);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }

  /** Ends all questions, also later ones: they have failed. */
  stop(): void {
    this.#isStopped = true;
    for (const question of this.#questions.values()) {
      answer(question, STOPPED);
      if (question.callOff !== undefined) this.#drop(question);
    }
    this.#queue = new Fifo();
    this.#endpoint.stop();
  }

  #put(key: string, visitor: Visitor): Question {
    const callOff = this.#after(this.#waitMs, () => {
      const failure = this.#isTooSlow();
      this.#note(failure);
      this.#drop(question);
      answer(question, failure);
    });
    const question: Question = { key, visitor, answered: new Set(), callOff };
    this.#questions.set(key, question);
    this.#queue.push(question);
    this.#next();
    return question;
  }

  #isTooSlow(): SessionAnswer {
    return failed(
      `AUTH_URL is too slow: a visitor waited ${this.#waitMs / 1000} s for others to be asked, ${this.#maxRequests} at a time (AUTH_MAX_REQUESTS).`,
    );
  }

  /** Takes a question out that has not been asked. */
  #drop(question: Question): void {
    question.callOff?.();
    this.#questions.delete(question.key);
    // Cookies are large: a queue must not fill with those of clients that went away.
    if (this.#queue.size > 2 * this.waiting + 32) this.#queue = this.#queue.copy(each => this.#isAsked(each));
  }

  #isAsked(question: Question): boolean {
    return this.#questions.get(question.key) === question;
  }

  #next(): void {
    while (this.#running < this.#maxRequests) {
      const question = this.#queue.shift();
      if (question === undefined) return;
      if (this.#isAsked(question)) void this.#run(question);
    }
  }

  async #run(question: Question): Promise<void> {
    question.callOff?.();
    question.callOff = undefined;
    this.#running++;
    const found = await this.#endpoint.ask(question.visitor);
    this.#running--;
    this.#questions.delete(question.key);
    if (this.#isStopped) return;
    this.#note(found);
    answer(question, found);
    this.#next();
  }

  #note(found: SessionAnswer): void {
    if (found.kind !== 'failed') {
      this.#isFailing = false;
      return;
    }
    this.failures++;
    // A backend may fail for some visitors and not for others. They must not flood the log.
    if (this.#isFailing || this.#clock.elapsed() - this.#toldAt < QUIET_MS) return;
    this.#isFailing = true;
    this.#toldAt = this.#clock.elapsed();
    this.#failed(found.reason);
  }
}

function answer(question: Question, found: SessionAnswer): void {
  for (const answered of question.answered) answered(found);
  question.answered.clear();
}
