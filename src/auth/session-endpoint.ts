import type { OutgoingHttpHeaders } from 'node:http';
import { Backend } from '../backend/backend.js';
import type { After } from '../model/clock.js';
import { answerOf, type SessionAnswer } from './session-answer.js';

/** What a browser sent that a backend can know somebody by. The cookie is a secret. */
export interface Visitor {
  readonly cookie: string;
  readonly origin?: string | undefined;
  readonly userAgent?: string | undefined;
  /** The client's own address, for `X-Forwarded-For`. */
  readonly address: string;
}

const MAX_BODY_BYTES = 64 * 1024;

/** The backend that knows its visitors by their cookies. */
export class SessionEndpoint {
  readonly #backend: Backend;
  readonly #now: () => number;

  constructor(options: {
    url: string;
    /** How many connections to it are kept open. */
    maxRequests: number;
    /** How long a whole answer may take. */
    timeoutMs: number;
    /** Milliseconds since the epoch. */
    now: () => number;
    after: After;
  }) {
    const { url, maxRequests, timeoutMs, after } = options;
    this.#backend = new Backend({
      url,
      name: 'AUTH_URL',
      maxIdle: maxRequests,
      timeoutMs,
      maxBytes: MAX_BODY_BYTES,
      isRepeatable: true,
      after,
    });
    this.#now = options.now;
  }

  /** Asks who a visitor is. Never rejects. */
  async ask(visitor: Visitor): Promise<SessionAnswer> {
    return answerOf(await this.#backend.ask(headersOf(visitor)), this.#now());
  }

  /** Ends all requests; their answers are `failed`. */
  stop(): void {
    this.#backend.stop();
  }
}

function headersOf({ cookie, origin, userAgent, address }: Visitor): OutgoingHttpHeaders {
  return {
    // With it, frameworks refuse with 401 instead of a redirect to the login page.
    Accept: 'application/json',
    Cookie: cookie,
    ...(origin !== undefined && { Origin: origin }),
    ...(userAgent !== undefined && { 'User-Agent': userAgent }),
    'X-Forwarded-For': address,
  };
}
