import http, {
  type ClientRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type RequestOptions,
} from 'node:http';
import https from 'node:https';
import { urlToHttpOptions } from 'node:url';
import type { After } from '../model/clock.js';

// An idle connection is closed before most servers close theirs: a request on it would get lost.
const IDLE_MS = 2000;
// How long to wait for the rest of an answer of which only the status counts, so that its connection can be used again.
const REST_MS = 1000;
// Answers with 1xx before the answer.
const MAX_HINTS = 10;
const STOPPED = 'The server is stopping.';

/** As much as has come of an answer. */
export interface Reply {
  readonly status: number | undefined;
  readonly chunks: readonly Buffer[];
  /** Why the rest did not come, as a sentence; undefined if the answer is whole. */
  readonly broken: string | undefined;
  /** Whether the time was over. */
  readonly isLate: boolean;
}

/**
 * One address of a backend. Nothing else is ever asked: redirects are not followed. It is asked with node:http and not
 * with fetch, which takes four times as much processor time for each request and sends headers of its own.
 */
export class Backend {
  readonly #name: string;
  readonly #options: RequestOptions;
  readonly #request: (options: RequestOptions) => ClientRequest;
  readonly #agent: http.Agent;
  readonly #timeoutMs: number;
  readonly #maxBytes: number;
  readonly #isRepeatable: boolean;
  readonly #after: After;
  /** Ends what is running. */
  readonly #ends = new Set<(reason: string, isLate: boolean) => void>();
  #isStopped = false;

  constructor(options: {
    url: string;
    /** The setting that has the address, for messages. */
    name: string;
    /** How many idle connections to it are kept open. */
    maxIdle: number;
    /** How long a whole answer may take. */
    timeoutMs: number;
    /** How many bytes of an answer are read; 0: only the status counts. */
    maxBytes: number;
    /** Whether a request is sent again if its connection, which was idle, was closed before anything came. */
    isRepeatable: boolean;
    after: After;
  }) {
    const url = new URL(options.url);
    const { Agent, request } = url.protocol === 'https:' ? https : http;
    this.#name = options.name;
    this.#options = urlToHttpOptions(url);
    this.#request = request;
    this.#agent = new Agent({ keepAlive: true, maxFreeSockets: options.maxIdle, timeout: IDLE_MS });
    this.#timeoutMs = options.timeoutMs;
    this.#maxBytes = options.maxBytes;
    this.#isRepeatable = options.isRepeatable;
    this.#after = options.after;
  }

  /** Sends a GET, or with a body a POST. Never rejects, and always ends. */
  ask(headers: OutgoingHttpHeaders, body?: string): Promise<Reply> {
    if (this.#isStopped)
      return Promise.resolve({ status: undefined, chunks: [], broken: STOPPED, isLate: false });
    return new Promise(resolve => {
      let request: ClientRequest | undefined;
      let ended: { reason: string; isLate: boolean } | undefined;
      const end = (reason: string, isLate: boolean) => {
        ended = { reason, isLate };
        request?.destroy();
      };
      const cancel = this.#after(this.#timeoutMs, () =>
        end(`${this.#name} did not answer within ${this.#timeoutMs / 1000} s.`, true),
      );
      const done = (reply: Omit<Reply, 'isLate'>) => {
        cancel();
        this.#ends.delete(end);
        resolve({ ...reply, broken: ended?.reason ?? reply.broken, isLate: ended?.isLate ?? false });
      };
      const send = (agent: http.Agent | false) => {
        request = this.#send(headers, body, agent);
        // The error is not told: it may have been made of a header.
        if (request === undefined)
          return done({
            status: undefined,
            chunks: [],
            broken: `The headers cannot be sent to ${this.#name}.`,
          });
        const sent = request;
        this.#read(sent, reply => {
          // The backend closed an idle connection just when it was used again. That says nothing about the backend.
          const isStale = sent.reusedSocket && reply.status === undefined && ended === undefined;
          if (isStale && this.#isRepeatable && agent !== false) send(false);
          else done(reply);
        });
      };
      this.#ends.add(end);
      send(this.#agent);
    });
  }

  /** Ends all requests: their answers are broken, for this reason. */
  end(reason: string): void {
    for (const end of this.#ends) end(reason, false);
  }

  /** Ends all requests, also later ones, and closes the connections. */
  stop(): void {
    this.#isStopped = true;
    this.end(STOPPED);
    this.#agent.destroy();
  }

  /** Undefined if a header has characters that no header can have. */
  #send(
    headers: OutgoingHttpHeaders,
    body: string | undefined,
    agent: http.Agent | false,
  ): ClientRequest | undefined {
    const method = body === undefined ? 'GET' : 'POST';
    const length = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) };
    try {
      const request = this.#request({ ...this.#options, agent, method, headers: { ...headers, ...length } });
      request.end(body);
      return request;
    } catch {
      return undefined;
    }
  }

  /** Calls `done` once, when nothing more can come. Before that the next request could not have this connection. */
  #read(request: ClientRequest, done: (reply: Omit<Reply, 'isLate'>) => void): void {
    let response: IncomingMessage | undefined;
    let bytes = 0;
    let cancel: (() => void) | undefined;
    const chunks: Buffer[] = [];
    let broken: string | undefined = `${this.#name} closed the connection before its answer was whole.`;
    request.on('error', error => {
      if (response === undefined) broken = `${this.#name} cannot be asked: ${whyOf(error)}.`;
    });
    const close = () => {
      // The request may close before its answer was read to the end.
      if (!request.closed || (response !== undefined && !response.closed)) return;
      cancel?.();
      done({ status: response?.statusCode, chunks, broken });
    };
    request.on('close', close);
    let hints = 0;
    request.on('information', () => {
      if (++hints > MAX_HINTS) request.destroy();
    });
    request.on('response', incoming => {
      response = incoming;
      const onlyStatus = this.#maxBytes === 0;
      if (onlyStatus) cancel = this.#after(REST_MS, () => request.destroy());
      incoming.on('data', (chunk: Buffer) => {
        if (onlyStatus) return;
        bytes += chunk.length;
        if (bytes <= this.#maxBytes) return chunks.push(chunk);
        broken = `The answer of ${this.#name} has more than ${this.#maxBytes} bytes.`;
        return request.destroy();
      });
      incoming.on('end', () => {
        if (bytes <= this.#maxBytes) broken = undefined;
      });
      // Its connection broke.
      incoming.on('error', () => undefined);
      incoming.on('close', close);
    });
  }
}

function whyOf({ message, code, name }: NodeJS.ErrnoException): string {
  // Node tries all addresses of a name, and then the error has a code but no message.
  return message || code || name;
}
