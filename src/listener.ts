import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { PROBLEM_TYPE, Problem, problemAnswer } from './model/problem.js';
import { StartError } from './model/start-error.js';

// Longer than the idle time of the usual proxies and of PHP's handles, so that it is not us who close first.
const KEEP_ALIVE_MS = 75_000;
const CHECK_MS = 500;
// Thousands come back at once after a restart; the system takes less where it is set to (somaxconn).
const BACKLOG = 65535;

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  /** How long a request may take to arrive, in seconds. */
  readonly requestTimeoutSeconds: number;
  /** Answers `POST /notify` and what else comes to that path; undefined where it is not served. */
  readonly notify: RequestListener | undefined;
  /** Answers all other requests. */
  readonly app: RequestListener;
  readonly log: Logger;
  /** Takes upgrades; undefined where none are served. */
  readonly upgrade: ((request: IncomingMessage, socket: Socket, head: Buffer) => void) | undefined;
}

/** One place where HTTP is served. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #server: Server;
  #url = '';
  /** The last request's answer on each socket. */
  readonly #answers = new WeakMap<Duplex, ServerResponse>();

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#server = createServer({
      requestTimeout: options.requestTimeoutSeconds * 1000,
      headersTimeout: options.requestTimeoutSeconds * 1000,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: CHECK_MS,
      // Node's own answers to these two are no problem+json: a missing Host is refused here, and an expectation
      // that nobody knows may be ignored (RFC 9110 §10.1.1).
      requireHostHeader: false,
    });
    const dispatch: RequestListener = (request, response) => {
      this.#answers.set(request.socket, response);
      const fault = faultOf(request);
      if (fault !== undefined) answer(response, fault);
      else if (options.notify !== undefined && isNotify(request.url)) options.notify(request, response);
      else options.app(request, response);
    };
    this.#server.on('request', dispatch);
    // Without this Node would ask for every body, also for one that will be refused.
    this.#server.on('checkContinue', dispatch);
    this.#server.on('checkExpectation', dispatch);
    this.#server.on('clientError', (error, socket) => this.#answerBrokenRequest(error, socket));
    this.#server.on('connect', (_request, socket) =>
      refuse(socket, new Problem('invalid_request', 'This is no proxy.')),
    );
    const { upgrade } = options;
    if (upgrade === undefined) return;
    this.#server.on('upgrade', (request, socket, head) => {
      const fault = faultOf(request) ?? this.#pendingFault(socket);
      if (fault !== undefined) refuse(socket, fault);
      // Every socket of an http.Server is a net.Socket; its type says Duplex.
      else upgrade(request, socket as Socket, head);
    });
  }

  /** Resolves once connections come in; rejects, with what to do about it, when they cannot. */
  async start(): Promise<void> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      const refuse = (error: Error) => reject(listenError(error, host, port));
      this.#server.once('error', refuse);
      this.#server.listen({ port, host, backlog: BACKLOG }, () => {
        this.#server.off('error', refuse);
        resolve();
      });
    });
    // A connection that could not be accepted, for want of descriptors say: the others go on.
    this.#server.on('error', error =>
      this.#options.log.error({ err: error }, 'a connection could not be accepted'),
    );
    const bound = this.#server.address() as AddressInfo;
    this.#url = `http://${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`;
  }

  /** Where it listens, or listened last; empty before the start. */
  get url(): string {
    return this.#url;
  }

  /**
   * Takes no new connections; resolves when the requests under way are answered, or have taken longer than a
   * request may.
   */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const deadline = setTimeout(
      () => this.#server.closeAllConnections(),
      this.#options.requestTimeoutSeconds * 1000,
    );
    await new Promise<void>(resolve => {
      this.#server.close(() => resolve());
      this.#server.closeIdleConnections();
    });
    clearTimeout(deadline);
  }

  /** An upgrade behind a request that is not answered yet would come before its answer. */
  #pendingFault(socket: Duplex): Problem | undefined {
    const pending = this.#answers.get(socket)?.writableFinished === false;
    return pending
      ? new Problem('invalid_request', 'Open the WebSocket on a connection of its own.')
      : undefined;
  }

  /** What arrives is no HTTP, or arrives too slowly. */
  #answerBrokenRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
    const answer = this.#answers.get(socket);
    if (answer?.req.complete && !answer.writableFinished) {
      // Nonsense behind a good request: that one still gets its answer.
      answer.once('finish', () => socket.destroy());
      return;
    }
    // A request that was refused before its body came has had its answer.
    const wasAnswered = answer?.headersSent && !answer.req.complete;
    if (wasAnswered || error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    refuse(socket, brokenRequest(error.code));
  }
}

function isNotify(url: string | undefined): boolean {
  return url === '/notify' || url?.startsWith('/notify?') === true;
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const why =
    error.code === 'EADDRINUSE'
      ? 'another program listens there already; choose another PORT'
      : error.code === 'EACCES'
        ? 'ports below 1024 need permission; choose another PORT'
        : error.message;
  return new StartError(`Cannot listen on ${host}:${port}: ${why}.`, { cause: error });
}

function brokenRequest(code: string | undefined): Problem {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new Problem(
      'request_timeout',
      'The request did not arrive completely in time (REQUEST_TIMEOUT_SECONDS).',
    );
  if (code === 'HPE_HEADER_OVERFLOW')
    return new Problem('invalid_request', 'The request line and headers are larger than 16 KiB.');
  return new Problem('invalid_request', 'This is not a well-formed HTTP/1.1 request.');
}

/**
 * What is wrong with the head of a request, if anything is. Brings its target into origin form: a path and query,
 * also where it came in absolute form, which every server has to take (RFC 9112 §3.2.2).
 */
function faultOf(request: IncomingMessage): Problem | undefined {
  const hosts = request.headersDistinct.host?.length ?? 0;
  if (hosts > 1 || (hosts === 0 && request.httpVersion === '1.1'))
    return new Problem('invalid_request', 'An HTTP/1.1 request needs one Host header (RFC 9112 §3.2).');
  const { url = '' } = request;
  if (url === '*' || (url.startsWith('/') && !url.includes('#'))) return undefined;
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url))
    return new Problem('invalid_request', 'The target of the request is neither a path nor a URL.');
  const { pathname, search } = new URL(url);
  request.url = pathname + search;
  return undefined;
}

function answer(response: ServerResponse, problem: Problem): void {
  const body = Buffer.from(JSON.stringify(problem));
  response
    .writeHead(problem.status, { 'Content-Type': PROBLEM_TYPE, 'Content-Length': body.length })
    .end(body);
}

function refuse(socket: Duplex, problem: Problem): void {
  // A peer that is gone already needs no answer.
  socket.on('error', () => socket.destroy());
  socket.end(problemAnswer(problem), () => socket.destroy());
}
