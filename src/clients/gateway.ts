import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import { TokenError } from '../auth/tokens.js';
import { refuse } from '../http/problem.js';
import { BROADCAST } from '../model/address.js';
import { waitBriefly } from '../model/pause.js';
import type { Patterns } from '../model/pattern.js';
import { Problem, unavailable } from '../model/problem.js';
import { FairTurns } from '../model/turns.js';
import { Admission, type AdmissionContext } from './admission.js';
import type { Opening, Protocol, Upgrade } from './protocol.js';
import { UserAgents } from './user-agents.js';

const RETRY_AFTER_SECONDS = 5;
const DRAIN_STEP_MS = 100;
// Of the 10 ms in which the listener takes requests in a turn.
const TURN_MS = 2;
// How long to wait for peers that do not answer the closing handshake.
const CLOSE_TIMEOUT_MS = 2000;

export interface GatewaySettings {
  readonly allowedOrigins: Patterns;
  readonly maxConnections: number;
}

/** Lets clients in, whatever protocol they speak, and disconnects them at the end. */
export class Gateway {
  readonly #context: AdmissionContext;
  readonly #settings: GatewaySettings;
  readonly #protocols: readonly Protocol[];
  /** Sockets that were let in and have not closed yet. */
  readonly #sockets = new Set<Socket>();
  #isClosing = false;
  /** Opening connections is the most expensive request: other requests must not wait behind many of them. */
  readonly #turns = new FairTurns(TURN_MS);
  /** Called when the last socket has closed. */
  #onEmpty: (() => void) | undefined;
  /** Called with a closed socket as `this`. */
  readonly #forget: (this: Socket) => void;

  constructor(
    context: Omit<AdmissionContext, 'userAgents'>,
    protocols: readonly Protocol[],
    settings: GatewaySettings,
  ) {
    this.#context = { ...context, userAgents: new UserAgents() };
    this.#protocols = protocols;
    this.#settings = settings;
    const sockets = this.#sockets;
    const emptied = () => this.#onEmpty?.();
    this.#forget = function () {
      sockets.delete(this);
      if (sockets.size === 0) emptied();
    };
  }

  /** Accepts or refuses an upgrade request. Never throws. */
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    try {
      const protocol = this.#protocolFor(request);
      this.#add(socket);
      const upgrade = { request, socket, head };
      const turn = { goOn: () => this.#enter(upgrade, () => this.#admit(upgrade, protocol.read(request))) };
      if (!this.#turns.mustWait(turn)) turn.goOn();
    } catch (error) {
      if (error instanceof Problem) this.#refuse(request, socket, error);
      else this.#fail(socket, error);
    }
  }

  /**
   * Lets no more clients in and closes all connections, spread over so many seconds: then the clients do not all come
   * back at once. Resolves when the last connection is closed.
   */
  async drain(seconds: number): Promise<void> {
    this.#isClosing = true;
    const { postroom } = this.#context;
    const connections = postroom.listeners(BROADCAST);
    const perStep = Math.ceil(connections.length / Math.max(1, (seconds * 1000) / DRAIN_STEP_MS));
    while (connections.length > 0) {
      for (const connection of connections.splice(0, perStep)) postroom.close(connection, 'shutting_down');
      if (connections.length > 0) await after(DRAIN_STEP_MS);
    }
    if (this.#sockets.size === 0) return;
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve;
    });
    await waitBriefly(empty, CLOSE_TIMEOUT_MS);
    for (const socket of this.#sockets) socket.destroy();
  }

  #admit(upgrade: Upgrade, opening: Opening): void {
    const { request, socket } = upgrade;
    const admission = new Admission(this.#context, socket, request.headers);
    const gone = new AbortController();
    const asked = admission.prepare(opening.token, gone.signal);
    if (asked === undefined) return this.#check(upgrade, opening, admission);
    const stopWatching = watch(socket, () => gone.abort());
    asked
      .then(() => {
        stopWatching();
        this.#enterLater(upgrade, () => this.#check(upgrade, opening, admission));
      })
      .catch(error => this.#fail(socket, error));
  }

  /** Checks the token before the client waits for its past: one with a bad token must not wait. */
  #check(upgrade: Upgrade, opening: Opening, admission: Admission): void {
    const { postroom } = this.#context;
    const { token, since } = opening;
    const identified = identify(admission, token);
    if (since === undefined || identified instanceof TokenError || !postroom.isAhead(since))
      return open(upgrade, opening, identified);
    postroom
      .catchUp(since)
      // The token is checked again: it may have been revoked meanwhile.
      .then(() => this.#enterLater(upgrade, () => open(upgrade, opening, identify(admission, token))))
      .catch(error => this.#fail(upgrade.socket, error));
  }

  #enterLater(upgrade: Upgrade, goOn: () => void): void {
    this.#turns.wait({ goOn: () => this.#enter(upgrade, goOn) });
  }

  /** Goes on with a client that may have waited. Never throws. */
  #enter({ request, socket }: Upgrade, goOn: () => void): void {
    try {
      // The server may have begun to stop meanwhile.
      if (this.#isClosing) this.#refuse(request, socket, shuttingDown());
      else if (!socket.destroyed) goOn();
    } catch (error) {
      if (error instanceof Problem) this.#refuse(request, socket, error);
      else this.#fail(socket, error);
    }
  }

  // Not in `upgrade`: this listener lives as long as the connection, and must not keep the request alive.
  #add(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', this.#forget);
  }

  /** Throws a Problem if the client may not connect. */
  #protocolFor(request: IncomingMessage): Protocol {
    const { origin, upgrade } = request.headers;
    if (upgrade?.toLowerCase() !== 'websocket' || request.httpVersion !== '1.1')
      throw new Problem(
        'invalid_request',
        'This server speaks HTTP/1.1 and WebSocket; send the request without the Upgrade header (in PHP: CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1).',
      );
    const path = pathOf(request);
    const protocol = this.#protocols.find(({ paths }) => paths.includes(path));
    if (protocol === undefined) {
      const paths = this.#protocols.flatMap(each => each.paths);
      throw new Problem('not_found', `WebSockets are opened at ${paths.join(' or ')}.`);
    }
    if (this.#isClosing || !this.#context.postroom.open) throw shuttingDown();
    if (this.#sockets.size >= this.#settings.maxConnections)
      throw unavailable(
        'This server has as many connections as it takes (MAX_CONNECTIONS).',
        RETRY_AFTER_SECONDS,
      );
    if (origin !== undefined && !this.#settings.allowedOrigins.match(origin.toLowerCase()))
      throw new Problem('forbidden', 'Pages of this origin may not connect; add it to ALLOWED_ORIGINS.');
    return protocol;
  }

  #refuse(request: IncomingMessage, socket: Socket, problem: Problem): void {
    const { refusals, callerOf } = this.#context;
    const address = callerOf(request);
    if (problem.code === 'forbidden')
      refusals.refused('refused origin', { origin: request.headers.origin, address });
    if (problem.code === 'not_found') refusals.refused('unknown path', { path: pathOf(request), address });
    refuse(socket, problem);
  }

  #fail(socket: Socket, error: unknown): void {
    this.#context.log.error({ err: error }, 'a connection could not be opened');
    socket.destroy();
  }
}

function open(upgrade: Upgrade, opening: Opening, identified: Admission | TokenError): void {
  opening.open(upgrade, identified);
  // A socket that was watched stands still.
  upgrade.socket.resume();
}

/**
 * Notices a client that goes away while it waits for its answer. It must be read for that, and it may not send anything
 * before the answer (RFC 6455 §4.1). Returns a function that ends this.
 */
function watch(socket: Socket, gone: () => void): () => void {
  const destroy = () => socket.destroy();
  socket.on('data', destroy).on('end', destroy).on('close', gone);
  socket.resume();
  return () => {
    socket.pause();
    socket.off('data', destroy).off('end', destroy).off('close', gone);
  };
}

/** Returns the error of a wrong token: the protocol reports it. */
function identify(admission: Admission, token: string | undefined): Admission | TokenError {
  try {
    admission.identify(token);
    return admission;
  } catch (error) {
    if (error instanceof TokenError) return error;
    throw error;
  }
}

function pathOf({ url = '' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? '';
}

function shuttingDown(): Problem {
  return unavailable('This server is starting or shutting down; come back in a moment.', RETRY_AFTER_SECONDS);
}
