import http, { type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import https from 'node:https';
import { urlToHttpOptions } from 'node:url';
import type { After } from '../model/clock.js';
import { answerOf, failed, type Reply, type SessionAnswer } from './session-answer.js';

/** What a browser sent that a backend can know somebody by. The cookie is a secret. */
export interface Visitor {
  readonly cookie: string;
  readonly origin?: string | undefined;
  readonly userAgent?: string | undefined;
  /** The client's own address, for `X-Forwarded-For`. */
  readonly address: string;
}

const MAX_BODY_BYTES = 64 * 1024;

/**
 * The backend that knows its visitors by their cookies. It is asked with node:http and not with fetch, which takes
 * four times as much processor time for each request and sends headers of its own.
 */
export class SessionEndpoint {
  readonly #options: RequestOptions;
  readonly #request: (options: RequestOptions) => ClientRequest;
  readonly #agent: http.Agent;
  readonly #timeoutMs: number;
  readonly #now: () => number;
  readonly #after: After;
  /** Ends what is running. */
  readonly #ends = new Set<(reason: string) => void>();

  constructor(options: {
    /** Nothing else is ever asked: redirects are not followed. */
    url: string;
    /** How many connections to it are kept open. */
    maxRequests: number;
    /** How long a whole answer may take. */
    timeoutMs: number;
    /** Milliseconds since the epoch. */
    now: () => number;
    after: After;
  }) {
    const url = new URL(options.url);
    const { Agent, request } = url.protocol === 'https:' ? https : http;
    this.#options = urlToHttpOptions(url);
    this.#request = request;
    this.#agent = new Agent({ keepAlive: true, maxFreeSockets: options.maxRequests });
    this.#timeoutMs = options.timeoutMs;
    this.#now = options.now;
    this.#after = options.after;
  }

  /** Asks who a visitor is. Never rejects. */
  ask(visitor: Visitor): Promise<SessionAnswer> {
    return new Promise(resolve => {
      let request: ClientRequest | undefined;
      let ended: string | undefined;
      const end = (reason: string) => {
        ended = reason;
        request?.destroy();
      };
      const cancel = this.#after(this.#timeoutMs, () =>
        end(`AUTH_URL did not answer within ${this.#timeoutMs / 1000} s.`),
      );
      const done = (found: SessionAnswer) => {
        cancel();
        this.#ends.delete(end);
        resolve(found);
      };
      const send = (agent: http.Agent | false) => {
        const sent = this.#send(visitor, agent);
        // The error is not told: it may have been made of the header.
        if (sent === undefined) return done(failed('The headers of this client cannot be sent to AUTH_URL.'));
        request = sent;
        read(sent, reply => {
          // The backend closed an idle connection just when it was used again. That says nothing about the backend.
          const isStale = sent.reusedSocket && reply.status === undefined && ended === undefined;
          if (isStale && agent !== false) send(false);
          else done(answerOf({ ...reply, broken: ended ?? reply.broken }, this.#now()));
        });
      };
      this.#ends.add(end);
      send(this.#agent);
    });
  }

  /** Ends all requests; their answers are `failed`. */
  stop(): void {
    for (const end of this.#ends) end('The server is stopping.');
    this.#agent.destroy();
  }

  /** Undefined if a header has characters that no header can have. */
  #send(visitor: Visitor, agent: http.Agent | false): ClientRequest | undefined {
    try {
      const request = this.#request({ ...this.#options, agent, headers: headersOf(visitor) });
      request.end();
      return request;
    } catch {
      return undefined;
    }
  }
}

function headersOf({ cookie, origin, userAgent, address }: Visitor): Record<string, string> {
  return {
    Cookie: cookie,
    ...(origin !== undefined && { Origin: origin }),
    ...(userAgent !== undefined && { 'User-Agent': userAgent }),
    'X-Forwarded-For': address,
  };
}

/** Calls `done` once, when nothing more can come. Before that the next request could not have this connection. */
function read(request: ClientRequest, done: (reply: Reply) => void): void {
  let response: IncomingMessage | undefined;
  let bytes = 0;
  const chunks: Buffer[] = [];
  let broken: string | undefined = 'AUTH_URL closed the connection before its answer was whole.';
  request.on('error', error => {
    if (response === undefined) broken = `AUTH_URL cannot be asked: ${whyOf(error)}.`;
  });
  const close = () => {
    // The request may close before its answer was read to the end.
    if (request.closed && (response === undefined || response.closed))
      done({ status: response?.statusCode, chunks, broken });
  };
  request.on('close', close);
  request.on('response', incoming => {
    response = incoming;
    incoming.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= MAX_BODY_BYTES) return chunks.push(chunk);
      broken = `The answer of AUTH_URL has more than ${MAX_BODY_BYTES} bytes; it must be the claims and nothing else.`;
      return request.destroy();
    });
    incoming.on('end', () => {
      if (bytes <= MAX_BODY_BYTES) broken = undefined;
    });
    // Its connection broke.
    incoming.on('error', () => undefined);
    incoming.on('close', close);
  });
}

function whyOf({ message, code, name }: NodeJS.ErrnoException): string {
  // Node tries all addresses of a name, and then the error has a code but no message.
  return message || code || name;
}
