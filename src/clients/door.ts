import type { IncomingMessage } from 'node:http';
import type { Socket as NetSocket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { EVERYONE } from '../model/address.js';
import { CLOSE } from '../model/close.js';
import { matches } from '../model/pattern.js';
import { Problem, problemAnswer, unavailable } from '../model/problem.js';
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
  readonly allowedOrigins: readonly string[];
  readonly maxConnections: number;
  readonly maxFrameBytes: number;
}

/** Where clients come in: the upgrade, who is let in, and who is shown out at the end. */
export class Door {
  readonly #context: SessionContext;
  readonly #settings: DoorSettings;
  readonly #server: WebSocketServer;
  readonly #sockets = new Set<WsSocket>();
  #closing = false;
  /** Upgrades that wait for this node to catch up. */
  #waiting = 0;
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
    this.#server.on('wsClientError', (error, socket) =>
      refuse(
        socket,
        // The header tells which version would do (RFC 6455 §4.4).
        new Problem('invalid_request', `${error.message}.`, { headers: { 'Sec-WebSocket-Version': '13' } }),
      ),
    );
  }

  /** Takes or refuses a request to upgrade. Never throws. */
  upgrade(request: IncomingMessage, socket: NetSocket, head: Buffer): void {
    // Until ws takes over, a peer that vanishes would be an unhandled error.
    socket.on('error', destroyBroken);
    const refusal = this.#refusal(request);
    if (refusal !== undefined) return refuse(socket, refusal);
    const opening = openingOf(request);
    const { postroom } = this.#context;
    if (opening.since === undefined || !postroom.isAhead(opening.since))
      return this.#open(request, socket, head, opening);
    this.#waiting++;
    postroom
      .catchUp(opening.since)
      .finally(() => this.#waiting--)
      // Much may have happened meanwhile.
      .then(() => this.#refusal(request))
      .then(refusal =>
        refusal === undefined ? this.#open(request, socket, head, opening) : refuse(socket, refusal),
      )
      .catch(error => {
        this.#context.log.error({ err: error }, 'a connection could not be opened');
        socket.destroy();
      });
  }

  #open(request: IncomingMessage, socket: NetSocket, head: Buffer, opening: Opening): void {
    if (socket.destroyed) return;
    this.#server.handleUpgrade(request, socket, head, ws => {
      socket.off('error', destroyBroken);
      this.#admit(ws, socket, opening);
      // It came paused, so that nothing was read while this node caught up.
      socket.resume();
    });
  }

  // Apart from `upgrade`, for its listeners live as long as the connection, and the request must not.
  #admit(ws: WebSocket, net: NetSocket, opening: Opening): void {
    const socket = new WsSocket(ws, net);
    this.#sockets.add(socket);
    ws.on('close', () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#emptied?.();
    });
    openSession(this.#context, ws, socket, opening);
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
    const [path = ''] = (request.url ?? '').split('?', 1);
    if (request.headers.upgrade?.toLowerCase() !== 'websocket')
      return new Problem(
        'invalid_request',
        'This server speaks HTTP/1.1 and WebSocket; send the request without the Upgrade header (in PHP: CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1).',
      );
    if (!PATHS.includes(path))
      return new Problem('not_found', `WebSockets are opened at ${PATHS.join(' or ')}.`);
    if (this.#closing || !this.#context.postroom.open)
      return unavailable(
        'This server is starting or shutting down; come back in a moment.',
        RETRY_AFTER_SECONDS,
      );
    if (this.#sockets.size + this.#waiting >= this.#settings.maxConnections)
      return unavailable(
        'This server has as many connections as it takes (MAX_CONNECTIONS).',
        RETRY_AFTER_SECONDS,
      );
    const { origin } = request.headers;
    if (
      origin !== undefined &&
      !this.#settings.allowedOrigins.some(allowed => matches(allowed, origin.toLowerCase()))
    )
      return new Problem('forbidden', 'Pages of this origin may not connect; add it to ALLOWED_ORIGINS.');
    return undefined;
  }
}

function openingOf({ url = '', headers }: IncomingMessage): Opening {
  const query = new URLSearchParams(url.slice(url.indexOf('?') + 1 || url.length));
  const lists = query.getAll('rooms').flatMap(list => list.split(','));
  return {
    token:
      query.get('token') ??
      /^Bearer +(\S+)/i.exec(headers.authorization ?? '')?.[1] ??
      BEARER_SUBPROTOCOL.exec(headers['sec-websocket-protocol'] ?? '')?.[1],
    rooms: [...query.getAll('room'), ...lists].filter(room => room !== ''),
    since: query.get('since') || undefined,
  };
}

/** Answers an upgrade that is refused, and closes. */
function refuse(socket: Duplex, problem: Problem): void {
  socket.once('finish', () => socket.destroy());
  socket.end(problemAnswer(problem));
}

function after(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds));
}

function destroyBroken(this: NetSocket): void {
  this.destroy();
}
