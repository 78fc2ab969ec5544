import type { IncomingMessage } from 'node:http';
import { Socket as NetSocket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { ANONYMOUS, type Identity } from '../auth/identity.js';
import { TokenError, type Tokens } from '../auth/tokens.js';
import { refuse } from '../http/problem.js';
import { EVERYONE } from '../model/address.js';
import { CLOSE } from '../model/close.js';
import type { Patterns } from '../model/pattern.js';
import { Problem, unavailable } from '../model/problem.js';
import { Turns } from '../model/turns.js';
import { WsSocket } from './socket.js';
import { type Opening, openSession, type SessionContext } from './websocket.js';

const PATHS = ['/', '/ws'];
const SUBPROTOCOL = 'postroom.v1';
const BEARER_SUBPROTOCOL = /(?:^|,)\s*bearer\.([^,\s]+)/;
const RETRY_AFTER_SECONDS = 5;
const DRAIN_STEP_MS = 100;
// A peer that does not answer the closing handshake is not waited for any longer.
const CLOSE_TIMEOUT_MS = 2000;

export interface DoorSettings {
  readonly allowedOrigins: Patterns;
  readonly maxConnections: number;
  readonly maxFrameBytes: number;
  /** The network address that a request came from. */
  readonly callerOf: CallerOf;
}

/** The network address of a caller, out of what was known when it came. */
type CallerOf = (from: Caller) => string;

export interface Caller {
  readonly socket: { readonly remoteAddress?: string | undefined };
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** A request to upgrade that may come in. */
interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: NetSocket;
  readonly head: Buffer;
  /** What it asks for, once this node has caught up with it. */
  readonly opening?: Opening;
}

/** Where clients come in: the upgrade, who is let in, and who is shown out at the end. */
export class Door {
  readonly #context: SessionContext;
  readonly #settings: DoorSettings;
  readonly #server: WebSocketServer;
  readonly #sockets = new Set<WsSocket>();
  #closing = false;
  /** Upgrades that wait for this node to catch up. */
  readonly #waiting = new Set<NetSocket>();
  /** Those that have waited for this node to catch up: many go on at once. */
  readonly #turns = new Turns<Upgrade>(upgrade => this.#admit(upgrade));
  /** Told when the last connection is gone. */
  #emptied: (() => void) | undefined;

  constructor(context: SessionContext, settings: DoorSettings) {
    this.#context = context;
    this.#settings = settings;
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      // One frame of a connection a turn: who sends thousands at once must not keep the others waiting.
      allowSynchronousEvents: false,
      maxPayload: settings.maxFrameBytes,
      handleProtocols: protocols => (protocols.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    });
    this.#server.on('wsClientError', (error, socket) => {
      // The header tells which version would do (RFC 6455 §4.4).
      const headers = { 'Sec-WebSocket-Version': '13' };
      if (socket instanceof NetSocket)
        refuse(socket, new Problem('invalid_request', `${error.message}.`, { headers }));
    });
  }

  /** Takes or refuses a request to upgrade. Never throws. */
  upgrade(request: IncomingMessage, socket: NetSocket, head: Buffer): void {
    // Until ws takes over, a peer that vanishes would be an unhandled error.
    socket.on('error', destroyBroken);
    const refusal = this.#refusal(request);
    if (refusal !== undefined) return this.#refuse(request, socket, refusal);
    this.#admit({ request, socket, head });
  }

  #admit(upgrade: Upgrade): void {
    try {
      // It has waited already.
      if (upgrade.opening !== undefined) this.#enter(upgrade, upgrade.opening);
      else this.#enterOrWait(upgrade);
    } catch (error) {
      this.#fail(upgrade, error);
    }
  }

  /** The token comes first: nobody waits with a bad one. */
  #enterOrWait(upgrade: Upgrade): void {
    const { postroom, tokens } = this.#context;
    const opening = openingOf(upgrade, this.#settings.callerOf, tokens);
    const { since, identity } = opening;
    if (since === undefined || identity instanceof TokenError || !postroom.isAhead(since))
      return this.#enter(upgrade, opening);
    this.#waiting.add(upgrade.socket);
    postroom
      .catchUp(since)
      .then(() => this.#turns.push({ ...upgrade, opening }))
      .catch(error => this.#fail(upgrade, error));
  }

  #enter({ request, socket, head }: Upgrade, opening: Opening): void {
    this.#waiting.delete(socket);
    // It may have begun to stop meanwhile.
    const refusal = this.#closing ? this.#refusal(request) : undefined;
    if (refusal !== undefined) this.#refuse(request, socket, refusal);
    else if (!socket.destroyed) this.#open(request, socket, head, opening);
  }

  #fail({ socket }: Upgrade, error: unknown): void {
    this.#waiting.delete(socket);
    this.#context.log.error({ err: error }, 'a connection could not be opened');
    socket.destroy();
  }

  #open(request: IncomingMessage, socket: NetSocket, head: Buffer, opening: Opening): void {
    this.#server.handleUpgrade(request, socket, head, ws => {
      socket.off('error', destroyBroken);
      this.#begin(ws, socket, opening);
    });
  }

  // Apart from `#open`, for its listeners live as long as the connection, and the request must not.
  #begin(ws: WebSocket, net: NetSocket, opening: Opening): void {
    const socket = new WsSocket(ws, net);
    this.#sockets.add(socket);
    ws.on('close', () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#emptied?.();
    });
    openSession(this.#context, ws, socket, opening);
  }

  #refuse(request: IncomingMessage, socket: NetSocket, problem: Problem): void {
    const { refusals } = this.#context;
    const address = this.#settings.callerOf(request);
    if (problem.code === 'forbidden')
      refusals.refused('refused origin', { origin: request.headers.origin, address });
    if (problem.code === 'not_found') refusals.refused('unknown path', { path: pathOf(request), address });
    refuse(socket, problem);
  }

  /**
   * Lets nobody in any more and closes everybody with 4400, spread over so many seconds, so that they do not
   * all come back at once. Resolves when the last is gone.
   */
  async drain(seconds: number): Promise<void> {
    this.#closing = true;
    const { postroom } = this.#context;
    const waiting = postroom.listeners(EVERYONE);
    const perStep = Math.ceil(waiting.length / Math.max(1, (seconds * 1000) / DRAIN_STEP_MS));
    while (waiting.length > 0) {
      for (const connection of waiting.splice(0, perStep)) postroom.close(connection, CLOSE.shuttingDown);
      if (waiting.length > 0) await after(DRAIN_STEP_MS);
    }
    if (this.#sockets.size === 0) return;
    await new Promise<void>(resolve => {
      const deadline = setTimeout(resolve, CLOSE_TIMEOUT_MS);
      this.#emptied = () => {
        clearTimeout(deadline);
        resolve();
      };
    });
    for (const socket of this.#sockets) socket.terminate();
  }

  #refusal(request: IncomingMessage): Problem | undefined {
    if (request.headers.upgrade?.toLowerCase() !== 'websocket')
      return new Problem(
        'invalid_request',
        'This server speaks HTTP/1.1 and WebSocket; send the request without the Upgrade header (in PHP: CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1).',
      );
    if (!PATHS.includes(pathOf(request)))
      return new Problem('not_found', `WebSockets are opened at ${PATHS.join(' or ')}.`);
    if (this.#closing || !this.#context.postroom.open)
      return unavailable(
        'This server is starting or shutting down; come back in a moment.',
        RETRY_AFTER_SECONDS,
      );
    if (this.#sockets.size + this.#waiting.size >= this.#settings.maxConnections)
      return unavailable(
        'This server has as many connections as it takes (MAX_CONNECTIONS).',
        RETRY_AFTER_SECONDS,
      );
    const { origin } = request.headers;
    if (origin !== undefined && !this.#settings.allowedOrigins.match(origin.toLowerCase()))
      return new Problem('forbidden', 'Pages of this origin may not connect; add it to ALLOWED_ORIGINS.');
    return undefined;
  }
}

function pathOf({ url = '' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? '';
}

function openingOf({ request, socket }: Upgrade, callerOf: CallerOf, tokens: Tokens): Opening {
  const { url = '', headers } = request;
  const query = new URLSearchParams(url.slice(url.indexOf('?') + 1 || url.length));
  const lists = query.getAll('rooms').flatMap(list => list.split(','));
  const token =
    query.get('token') ??
    /^Bearer +(\S+)/i.exec(headers.authorization ?? '')?.[1] ??
    BEARER_SUBPROTOCOL.exec(headers['sec-websocket-protocol'] ?? '')?.[1];
  const from: Caller = { socket, headers: { 'x-forwarded-for': headers['x-forwarded-for'] } };
  return {
    identity: token === undefined ? ANONYMOUS : identityOf(token, tokens),
    rooms: [...query.getAll('room'), ...lists].filter(room => room !== ''),
    since: query.get('since') || undefined,
    parameters: [...new Set(query.keys())],
    // Seldom asked for; and the request must not live as long as the connection.
    address: () => callerOf(from),
  };
}

function identityOf(token: string, tokens: Tokens): Identity | TokenError {
  try {
    return tokens.verify(token);
  } catch (error) {
    if (error instanceof TokenError) return error;
    throw error;
  }
}

function after(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds));
}

function destroyBroken(this: NetSocket): void {
  this.destroy();
}
