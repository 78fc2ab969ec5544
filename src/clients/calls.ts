import { randomUUID } from 'node:crypto';
import type { Reply } from '../backend/backend.js';
import { SignedEndpoint } from '../backend/signed-endpoint.js';
import type { After, Clock } from '../model/clock.js';
import { isJson } from '../model/json.js';
import { isShortText } from '../model/text.js';
import { MessageError } from './message-error.js';

const MAX_OF_ONE_CONNECTION = 5;
// One user, or one address without a user, gets at most this part of all calls.
const MAX_PART = 4;
const MAX_LOGGED = 200;

/** A client's question to PHP. */
export interface Call {
  readonly event: string;
  /** JSON text. */
  readonly data: string;
  readonly connection: string;
  readonly user: string | null;
  /** The network address of the client. */
  readonly address: string;
}

/** Clients ask, PHP answers: a bounded number of questions at a time. */
export class Calls {
  /** Calls that PHP has answered, and calls that have failed, since the start. */
  answered = 0;
  failures = 0;
  readonly #endpoint: SignedEndpoint;
  readonly #maxCalls: number;
  readonly #timeoutSeconds: number;
  readonly #failed: (reason: string) => void;
  #running = 0;
  readonly #runningOf = new Map<string, number>();

  constructor(options: {
    url: string;
    /** The key of the signatures. */
    key: Buffer;
    version: string;
    maxCalls: number;
    timeoutSeconds: number;
    /** Bytes of an answer. */
    maxBytes: number;
    clock: Clock;
    after: After;
    /** Told of a call that has failed: why, and the beginning of the answer. */
    failed: (reason: string) => void;
  }) {
    const { maxCalls, timeoutSeconds, failed, ...others } = options;
    this.#endpoint = new SignedEndpoint({
      ...others,
      name: 'CALL_URL',
      maxIdle: maxCalls,
      timeoutMs: timeoutSeconds * 1000,
      // A call may have been carried out although its connection broke.
      isRepeatable: false,
    });
    this.#maxCalls = maxCalls;
    this.#timeoutSeconds = timeoutSeconds;
    this.#failed = failed;
  }

  /** How many calls run now. */
  get running(): number {
    return this.#running;
  }

  /** Resolves to the JSON text of PHP's answer. Rejects with a MessageError. */
  async call(call: Call): Promise<string> {
    if (!isShortText(call.event))
      throw new MessageError('invalid_frame', 'event must be a string of 1 to 200 characters.');
    const { connection, user, address } = call;
    const caller = user === null ? `address ${address}` : `user ${user}`;
    this.#begin(connection, caller);
    try {
      return this.#resultOf(await this.#ask(call));
    } finally {
      this.#end(connection, caller);
    }
  }

  /** Ends all calls: they fail. */
  stop(): void {
    this.#endpoint.stop();
  }

  #begin(connection: string, caller: string): void {
    const part = Math.max(MAX_OF_ONE_CONNECTION, Math.ceil(this.#maxCalls / MAX_PART));
    if (this.#countOf(connection) >= MAX_OF_ONE_CONNECTION)
      throw new MessageError('call_busy', `A connection may have ${MAX_OF_ONE_CONNECTION} calls at a time.`);
    if (this.#running >= this.#maxCalls)
      throw new MessageError('call_busy', `The backend has ${this.#maxCalls} calls at a time (MAX_CALLS).`);
    if (this.#countOf(caller) >= part)
      throw new MessageError('call_busy', `A user may have ${part} calls at a time, a quarter of MAX_CALLS.`);
    this.#count(connection, 1);
    this.#count(caller, 1);
    this.#running++;
  }

  #end(connection: string, caller: string): void {
    this.#running--;
    this.#count(connection, -1);
    this.#count(caller, -1);
  }

  #countOf(who: string): number {
    return this.#runningOf.get(who) ?? 0;
  }

  #count(who: string, change: number): void {
    const count = this.#countOf(who) + change;
    if (count === 0) this.#runningOf.delete(who);
    else this.#runningOf.set(who, count);
  }

  #ask({ event, data, connection, user }: Call): Promise<Reply> {
    const rest = JSON.stringify({ connection, user }).slice(1);
    const body = `{"event":${JSON.stringify(event)},"data":${data},${rest}`;
    return this.#endpoint.post(`call_${randomUUID()}`, body, { accept: 'application/json' });
  }

  #resultOf(reply: Reply): string {
    const { status, broken, isLate } = reply;
    if (isLate)
      return this.#fail('call_timeout', `The backend did not answer within ${this.#timeoutSeconds} s.`);
    if (broken !== undefined) return this.#fail('call_failed', broken);
    // Without the byte order mark that some editors put into PHP files.
    const text = new TextDecoder().decode(Buffer.concat(reply.chunks));
    if (status === undefined || status < 200 || status > 299)
      return this.#fail('call_failed', `CALL_URL answered ${status}: ${text.slice(0, MAX_LOGGED)}`);
    const json = text.trim() === '' ? 'null' : text;
    if (!isJson(json))
      return this.#fail('call_failed', `CALL_URL did not answer with JSON: ${text.slice(0, MAX_LOGGED)}`);
    this.answered++;
    return json;
  }

  /** The client does not hear why: answers of a backend that failed may say too much. */
  #fail(code: 'call_failed' | 'call_timeout', reason: string): never {
    this.failures++;
    this.#failed(reason);
    throw new MessageError(
      code,
      code === 'call_timeout' ? reason : 'The backend could not answer; the log of the server says why.',
    );
  }
}
