import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { Problem } from '../model/problem.js';
import { reasonOf } from '../model/reason.js';
import { StartError } from '../model/start-error.js';
import { FairTurns } from '../model/turns.js';
import { isSocketPath, listenOnFile, SocketInUse } from '../unix/socket-file.js';
import { type ConnectionEvents, HttpConnection } from './connection.js';
import { refuse, sendProblem } from './problem.js';

// Longer than the idle time of the usual proxies and of PHP's handles, so that we do not close first.
const KEEP_ALIVE_MS = 75_000;
// A peer that takes nothing of its answer for so long is dropped; if it took a part, after twice as long.
const STUCK_MS = 10_000;
const CHECK_MS = 500;
// Twice what others get in a turn of the event loop: a short request must not wait long behind many expensive ones.
const TURN_MS = 10;
// After a restart, thousands come back at once. The system may be set to take fewer (somaxconn).
const BACKLOG = 65535;
// Permissions of a socket's file. Who may write to it may post, so only its owner and its group may.
const SOCKET_MODE = 0o660;

/** Where to listen: a port, or a Unix socket's file. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly path: string };

export interface ListenerOptions {
  readonly address: ListenAddress;
  /** How long a request may take to arrive, in seconds. */
  readonly requestTimeoutSeconds: number;
  /** The most connections, not counting WebSockets. */
  readonly maxConnections: number;
  /** Answers requests to `/notify`; undefined if they are not served here. */
  readonly notify: RequestListener | undefined;
  /** Answers all other requests. */
  readonly app: RequestListener;
  readonly log: Logger;
  /** Takes upgrades; undefined if they are not served here. */
  readonly upgrade: ((request: IncomingMessage, socket: Socket, head: Buffer) => void) | undefined;
}

/** Serves HTTP at one address. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #server: Server;
  #url = '';
  /** All TCP connections, also WebSockets: `stop` closes them. */
  readonly #sockets = new Set<Socket>();
  /** Connections that speak HTTP. */
  readonly #connections = new Map<Duplex, HttpConnection>();
  /** Those without a request; the longest idle comes first. */
  readonly #idle = new Set<HttpConnection>();
  /** Called with a closed socket as `this`. */
  readonly #forget: (this: Socket) => void;
  readonly #turns = new FairTurns(TURN_MS);
  #isStopping = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#server = createServer({
      requestTimeout: options.requestTimeoutSeconds * 1000,
      headersTimeout: options.requestTimeoutSeconds * 1000,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: CHECK_MS,
      // Node's own answers to these two are no problem+json. So a missing Host is refused here, and an unknown
      // expectation is ignored, as RFC 9110 §10.1.1 allows.
      requireHostHeader: false,
    });
    const [sockets, connections, idle] = [this.#sockets, this.#connections, this.#idle];
    this.#forget = function () {
      sockets.delete(this);
      const connection = connections.get(this);
      if (connection === undefined) return;
      connections.delete(this);
      idle.delete(connection);
    };
    this.#server.timeout = STUCK_MS;
    this.#server.on('timeout', socket => this.#look(socket));
    this.#server.prependListener('connection', socket => this.#admit(socket));
    this.#server.on('connection', socket => this.#connections.get(socket)?.intercept());
    const add: RequestListener = (request, response) =>
      this.#connections.get(request.socket)?.add(request, response);
    this.#server.on('request', add);
    // Otherwise Node asks for every body, even if the request will be refused.
    this.#server.on('checkContinue', add);
    this.#server.on('checkExpectation', add);
    this.#server.on('clientError', (error, socket) => this.#answerBrokenRequest(error, socket));
    this.#server.on('connect', ({ socket }) => {
      this.#release(socket);
      refuse(socket, new Problem('invalid_request', 'This is no proxy.'));
    });
    if (options.upgrade !== undefined)
      this.#server.on('upgrade', (request, _socket, head) => this.#upgrade(request, head));
  }

  /** Resolves when connections can come. Rejects with a StartError that says what to do. */
  async start(): Promise<void> {
    const { address } = this.#options;
    try {
      if ('path' in address && !isSocketPath(address.path))
        throw new StartError(
          `The path ${address.path} is too long for a Unix socket; choose a shorter NOTIFY_SOCKET.`,
        );
      if ('path' in address)
        await listenOnFile(this.#server, { path: address.path, backlog: BACKLOG }, SOCKET_MODE);
      else {
        this.#server.listen({ ...address, backlog: BACKLOG });
        await once(this.#server, 'listening');
      }
    } catch (error) {
      throw listenError(error, address);
    }
    // A connection could not be accepted, for example for lack of descriptors. The others go on.
    this.#server.on('error', error =>
      this.#options.log.error({ err: error }, 'a connection could not be accepted'),
    );
    const bound = this.#server.address();
    this.#url = typeof bound === 'object' && bound !== null ? urlOf(bound) : `unix:${bound}`;
  }

  /** Where it listens or listened, as `http://127.0.0.1:8080` or `unix:/run/postroom.sock`; empty before the start. */
  get url(): string {
    return this.#url;
  }

  /**
   * Takes no new connections. Resolves when all running requests are answered, or have taken longer than a request may.
   * Then all connections are closed, also WebSockets.
   */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#isStopping = true;
    const deadline = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, this.#options.requestTimeoutSeconds * 1000);
    await new Promise<void>(resolve => {
      this.#server.close(() => resolve());
      for (const { socket } of this.#idle) socket.destroy();
    });
    clearTimeout(deadline);
  }

  /** Takes a connection. If there are too many, closes the one that has been idle longest. */
  #admit(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', this.#forget);
    // Between two readers a socket has no other error listener, and an error without a listener ends the process.
    socket.on('error', ignore);
    const isFull = this.#connections.size >= this.#options.maxConnections;
    const [longest] = isFull ? this.#idle : [];
    if (longest !== undefined) {
      longest.socket.destroy();
      this.#release(longest.socket);
    }
    const connection = new HttpConnection(socket, this.#events);
    this.#connections.set(socket, connection);
    this.#idle.add(connection);
    // All others are busy, so this one has to come again.
    if (isFull && longest === undefined) socket.destroy();
  }

  readonly #events: ConnectionEvents = {
    request: (connection, request, response) => {
      this.#idle.delete(connection);
      this.#dispatch(request, response);
    },
    idle: connection => {
      // All requests are answered, and no more will be.
      if (this.#isStopping) connection.socket.destroySoon();
      else this.#idle.add(connection);
    },
    mustWait: connection => this.#turns.mustWait(connection),
  };

  /** Stops HTTP on a connection. Returns the bytes that node:http has not got. */
  #release(socket: Duplex): Buffer {
    const connection = this.#connections.get(socket);
    if (connection === undefined) return Buffer.alloc(0);
    this.#connections.delete(socket);
    this.#idle.delete(connection);
    return connection.release();
  }

  /** Called if a connection had no traffic for a while. */
  #look(socket: Socket): void {
    const isStuck = socket.writableLength > 0;
    // Between two requests node:http sets another timeout.
    const isIdle = socket.timeout !== STUCK_MS;
    // Otherwise the peer waits for our answer, or sends a request, which has its own time limit.
    if (isStuck || isIdle) socket.destroy();
    else socket.setTimeout(STUCK_MS);
  }

  #dispatch(request: IncomingMessage, response: ServerResponse): void {
    const { notify, app } = this.#options;
    const fault = faultOf(request);
    if (fault !== undefined) sendProblem(response, fault);
    else if (notify !== undefined && isNotify(request.url)) notify(request, response);
    else app(request, response);
  }

  #upgrade(request: IncomingMessage, head: Buffer): void {
    const { socket } = request;
    const connection = this.#connections.get(socket);
    const rest = this.#release(socket);
    const fault = faultOf(request);
    if (connection?.isAnswering) {
      // An earlier request is not answered yet.
      const problem = new Problem('invalid_request', 'Open the WebSocket on a connection of its own.');
      socket.setTimeout(STUCK_MS, () => socket.destroy());
      connection.last?.response.once('close', () => refuse(socket, problem));
    } else if (fault !== undefined) refuse(socket, fault);
    else this.#options.upgrade?.(request, socket, rest.length === 0 ? head : Buffer.concat([head, rest]));
  }

  /** Called if the input is no HTTP, or comes too slowly. */
  #answerBrokenRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
    const last = this.#connections.get(socket)?.last;
    if (last?.request.complete && !last.response.writableFinished) {
      // A good request before the bad bytes still gets its answer.
      last.response.once('finish', () => socket.destroy());
      return;
    }
    // A request that was refused before its body came already has its answer.
    const wasAnswered = last?.response.headersSent && !last.request.complete;
    if (wasAnswered || error.code === 'ECONNRESET' || !socket.writable || !(socket instanceof Socket)) {
      socket.destroy();
      return;
    }
    this.#release(socket);
    // The parser cannot go on after an error.
    socket.pause();
    refuse(socket, brokenRequest(error.code));
  }
}

function ignore(): void {}

function isNotify(url: string | undefined): boolean {
  return url === '/notify' || url?.startsWith('/notify?') === true;
}

function urlOf({ family, address, port }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

function listenError(error: unknown, address: ListenAddress): Error {
  if (error instanceof StartError) return error;
  const where = 'path' in address ? address.path : `${address.host}:${address.port}`;
  return new StartError(`Cannot listen on ${where}: ${listenAdvice(error, address)}.`, { cause: error });
}

function listenAdvice(error: unknown, address: ListenAddress): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  if (error instanceof SocketInUse) return 'another process listens there; choose another NOTIFY_SOCKET';
  if (code === 'EACCES' && 'path' in address)
    return 'its directory does not exist, or this user may not make a file there; choose another NOTIFY_SOCKET';
  if (code === 'EADDRINUSE') return 'another program listens there already; choose another PORT';
  if (code === 'EACCES') return 'ports below 1024 need permission; choose another PORT';
  return reasonOf(error);
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
 * The fault in the head of a request, if there is one. Brings its target into origin form: path and query. Every server
 * must take the absolute form too (RFC 9112 §3.2.2).
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
