import { once } from 'node:events';
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
import { isSocketPath, listenOnFile, SocketInUse } from './unix/socket-file.js';

// Longer than the idle time of the usual proxies and of PHP's handles, so that it is not us who close first.
const KEEP_ALIVE_MS = 75_000;
const CHECK_MS = 500;
// Thousands come back at once after a restart; the system takes less where it is set to (somaxconn).
const BACKLOG = 65535;
// Of a socket's file: who may write to it may post, so its owner and its group only.
const SOCKET_MODE = 0o660;

/** Where to listen: a port, or a Unix socket's file. */
export type Place = { readonly host: string; readonly port: number } | { readonly path: string };

export interface ListenerOptions {
  readonly place: Place;
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
    const { place } = this.#options;
    try {
      if ('path' in place && !isSocketPath(place.path))
        throw new StartError(
          `The path ${place.path} is too long for a Unix socket; choose a shorter NOTIFY_SOCKET.`,
        );
      if ('path' in place)
        await listenOnFile(this.#server, { path: place.path, backlog: BACKLOG }, SOCKET_MODE);
      else {
        this.#server.listen({ ...place, backlog: BACKLOG });
        await once(this.#server, 'listening');
      }
    } catch (error) {
      throw listenError(error, place);
    }
    // A connection that could not be accepted, for want of descriptors say: the others go on.
    this.#server.on('error', error =>
      this.#options.log.error({ err: error }, 'a connection could not be accepted'),
    );
    const bound = this.#server.address();
    this.#url = typeof bound === 'object' && bound !== null ? urlOf(bound) : `unix:${bound}`;
  }

  /** Where it listens, or listened last, such as `http://127.0.0.1:8080` or `unix:/run/postroom.sock`; empty before the start. */
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

function urlOf({ family, address, port }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

function listenError(error: unknown, place: Place): Error {
  if (error instanceof StartError) return error;
  const where = 'path' in place ? place.path : `${place.host}:${place.port}`;
  return new StartError(`Cannot listen on ${where}: ${listenAdvice(error, place)}.`, { cause: error });
}

function listenAdvice(error: unknown, place: Place): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  if (error instanceof SocketInUse) return 'another process listens there; choose another NOTIFY_SOCKET';
  if (code === 'EACCES' && 'path' in place)
    return 'its directory does not exist, or this user may not make a file there; choose another NOTIFY_SOCKET';
  if (code === 'EADDRINUSE') return 'another program listens there already; choose another PORT';
  if (code === 'EACCES') return 'ports below 1024 need permission; choose another PORT';
  return error instanceof Error ? error.message : String(error);
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
