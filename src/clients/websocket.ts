import type { Logger } from 'pino';
import type { RawData, WebSocket } from 'ws';
import { type Identity, mayJoin } from '../auth/identity.js';
import { CLOCK_TOLERANCE_SECONDS, TokenError, type Tokens } from '../auth/tokens.js';
import type { Connection } from '../core/connection.js';
import type { Postroom } from '../core/postroom.js';
import { isRoomName, ROOM_RULE } from '../model/address.js';
import { CLOSE, type CloseReason } from '../model/close.js';
import { isNear } from '../model/near.js';
import type { Patterns } from '../model/pattern.js';
import type { Refusals } from '../model/refusals.js';
import type { FairTurns } from '../model/turns.js';
import type { WsSocket } from './socket.js';
import type { Timed, Timetable } from './timetable.js';
import {
  type ClientFrame,
  encoder,
  errorFrame,
  FrameError,
  type FrameErrorCode,
  PING_FRAME,
  parseClientFrame,
  pongFrame,
  type Ref,
  subscribedFrame,
  tokenFrame,
  unsubscribedFrame,
  welcomeFrame,
} from './wire.js';

const MAX_ERRORS = 20;
// What a parameter of the address may be called; as much of an unknown one is told.
const PARAMETERS = ['room', 'rooms', 'token', 'since'];
const MAX_PARAMETER = 50;
// Node's timers hold less than 25 days: a longer token is looked at again.
const MAX_WAIT_SECONDS = 24 * 60 * 60;

/** What all sessions of a server share. */
export interface SessionContext {
  readonly postroom: Postroom;
  readonly tokens: Tokens;
  readonly timetable: Timetable;
  readonly log: Logger;
  readonly refusals: Refusals;
  /** Spreads what many clients send at once over several turns of the event loop. */
  readonly turns: FairTurns;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly settings: {
    readonly publicRooms: Patterns;
    readonly maxRoomsPerConnection: number;
    readonly maxConnectionsPerUser: number;
    readonly maxBufferedBytes: number;
    readonly pingSeconds: number;
  };
}

/** What a client asked for in the address it opened. */
export interface Opening {
  /** Who it is, or what is wrong with the token. */
  readonly identity: Identity | TokenError;
  readonly rooms: readonly string[];
  readonly since: string | undefined;
  /** Names of the parameters that the address has. */
  readonly parameters: readonly string[];
  /** The network address it came from. */
  readonly address: () => string;
}

/**
 * Speaks `postroom.v1` on a socket that was just opened. Resolves nothing and throws nothing: what goes wrong
 * with one connection closes that connection.
 */
export function openSession(
  context: SessionContext,
  ws: WebSocket,
  socket: WsSocket,
  opening: Opening,
): void {
  ws.on('error', error =>
    context.log.debug({ reason: error.message }, 'client broke the protocol or the connection'),
  );
  const { identity, address } = opening;
  if (identity instanceof TokenError) {
    context.refusals.refused('bad token', { reason: identity.message, address: address() });
    socket.write(errorFrame('invalid_token', `${identity.message}.`));
    return socket.close(identity.fault === 'expired' ? CLOSE.tokenExpired : CLOSE.invalidToken);
  }
  try {
    if (hasTooMany(context, identity.user)) return socket.close(CLOSE.tooManyConnections);
    new Session(context, ws, socket, identity, opening);
  } catch (error) {
    fail(context, ws, error);
  }
}

function unknownParameter(name: string): Buffer {
  const cut = name.slice(0, MAX_PARAMETER);
  const meant = PARAMETERS.find(parameter => isNear(cut.toLowerCase(), parameter));
  const hint = meant === undefined ? `there are ${PARAMETERS.join(', ')}.` : `did you mean ${meant}?`;
  return errorFrame('unknown_parameter', `${cut} is not a parameter of the address; ${hint}`);
}

/** Whether a user has as many connections already as one may have. */
function hasTooMany({ postroom, settings }: SessionContext, user: string | undefined): boolean {
  return user !== undefined && postroom.connectionsOf(user) >= settings.maxConnectionsPerUser;
}

function fail(context: SessionContext, ws: WebSocket, error: unknown): void {
  context.log.error({ err: error }, 'a connection failed and was closed');
  ws.close(CLOSE.internal.code, CLOSE.internal.reason);
}

type HeldFrames = [data: RawData, isBinary: boolean][];

/** One client of our protocol. */
class Session implements Timed {
  dueAt = 0;
  readonly #context: SessionContext;
  readonly #ws: WebSocket;
  readonly #socket: WsSocket;
  readonly #connection: Connection;
  readonly #address: () => string;
  #identity: Identity;
  #expiry: Timed | undefined;
  #errors = 0;
  /** Frames that are not taken yet: this node catches up, or others have their turn. */
  #held: HeldFrames | undefined;
  #isCatchingUp = false;
  #hasWaited = false;

  constructor(
    context: SessionContext,
    ws: WebSocket,
    socket: WsSocket,
    identity: Identity,
    opening: Opening,
  ) {
    this.#context = context;
    this.#ws = ws;
    this.#socket = socket;
    this.#identity = identity;
    this.#address = opening.address;
    this.#connection = this.#open(opening);
    ws.on('message', (data, isBinary) => this.#receive(data, isBinary));
    ws.on('close', () => this.#forget());
    // Spread from the start: thousands that come back together are not pinged together.
    context.timetable.add(this, 1 + Math.random() * (context.settings.pingSeconds - 1));
    this.#watchExpiry();
  }

  /** Heartbeat. */
  due(): number | undefined {
    if (this.#connection.closed) return undefined;
    if (!this.#socket.beat()) {
      this.#socket.terminate();
      return undefined;
    }
    // A ping behind bytes that are stuck would say nothing.
    if (this.#socket.waiting === 0) this.#send(PING_FRAME);
    return this.#context.settings.pingSeconds;
  }

  #open({ rooms, since, parameters }: Opening): Connection {
    const { postroom, settings, log } = this.#context;
    const unknown = parameters.filter(name => !PARAMETERS.includes(name));
    const errors = unknown.slice(0, MAX_ERRORS).map(unknownParameter);
    const joining: string[] = [];
    for (const room of new Set(rooms)) {
      if (errors.length >= MAX_ERRORS) break;
      const refusal = this.#refusal(room, joining.length);
      if (refusal === undefined) joining.push(room);
      else errors.push(errorFrame(refusal.code, refusal.message, { room }));
    }
    this.#errors = errors.length;
    const options = { user: this.#identity.user, rooms: joining, since };
    const { connection, start } = postroom.connect(this.#socket, encoder, options);
    const welcome = welcomeFrame(connection.id, connection.user, start, settings.pingSeconds);
    const subscribed = joining.map(room => subscribedFrame(room, start));
    for (const frame of [welcome, ...subscribed, ...errors]) postroom.send(connection, frame);
    if (log.isLevelEnabled('debug')) {
      log.debug({ connection: connection.id, user: connection.user, address: this.#address() }, 'opened');
      for (const room of joining) log.debug({ connection: connection.id, room }, 'joined');
    }
    if (this.#errors >= MAX_ERRORS) postroom.close(connection, CLOSE.tooManyErrors);
    return connection;
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#connection.closed) return;
    // At most what was read from the network before it was paused.
    if (this.#held !== undefined) this.#held.push([data, isBinary]);
    else if (this.#context.turns.mustWait(this)) this.#hold().push([data, isBinary]);
    else this.#take(data, isBinary);
  }

  #take(data: RawData, isBinary: boolean): void {
    try {
      if (isBinary) this.#close(CLOSE.binary);
      else this.#answer(String(data));
      this.#holdBack();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** What the client sends waits from now on. */
  #hold(): HeldFrames {
    this.#held ??= [];
    this.#socket.hold();
    return this.#held;
  }

  /** Takes the first frame that waits, if any does; else those that come from now on. */
  goOn(): void {
    const next = this.#connection.closed ? undefined : this.#held?.shift();
    if (next === undefined) {
      this.#held = undefined;
      this.#socket.release();
      return;
    }
    this.#take(...next);
    if (!this.#isCatchingUp) this.#context.turns.wait(this);
  }

  #fail(error: unknown): void {
    this.#context.postroom.disconnect(this.#connection);
    fail(this.#context, this.#ws, error);
  }

  /** A client that sends on without taking its answers is not listened to until it does. */
  #holdBack(): void {
    const { postroom, settings } = this.#context;
    if (postroom.waiting(this.#connection) <= settings.maxBufferedBytes) return;
    postroom.flush(this.#connection);
    this.#socket.pauseUntilTaken();
  }

  #answer(text: string): void {
    try {
      this.#handle(parseClientFrame(text));
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#send(errorFrame(error.code, error.message, { ref: error.ref }));
      if (++this.#errors >= MAX_ERRORS) this.#close(CLOSE.tooManyErrors);
    }
  }

  #handle(frame: ClientFrame): void {
    switch (frame.type) {
      case 'subscribe':
        return this.#subscribe(frame.room, frame.since, frame.ref);
      case 'unsubscribe':
        this.#leave(frame.room);
        return this.#send(unsubscribedFrame(frame.room, frame.ref));
      case 'token':
        return this.#renew(frame.token, frame.ref);
      case 'ping':
        return this.#send(pongFrame(frame.ref));
    }
  }

  #subscribe(room: string, since: string | undefined, ref: Ref): void {
    const { postroom } = this.#context;
    if (since !== undefined && !this.#hasWaited && postroom.isAhead(since))
      return this.#subscribeLater(room, since, ref);
    this.#subscribeNow(room, since, ref);
  }

  /** What else the client sends waits meanwhile, so that its frames keep their order. Once for a connection: it is enough. */
  #subscribeLater(room: string, since: string, ref: Ref): void {
    this.#hasWaited = true;
    this.#isCatchingUp = true;
    this.#hold();
    this.#context.postroom
      .catchUp(since)
      .then(() => {
        this.#isCatchingUp = false;
        if (!this.#connection.closed) this.#subscribeNow(room, since, ref);
        this.#context.turns.wait(this);
      })
      .catch(error => this.#fail(error));
  }

  #subscribeNow(room: string, since: string | undefined, ref: Ref): void {
    const { postroom } = this.#context;
    const others = postroom.isIn(this.#connection, room) ? 0 : postroom.roomsOf(this.#connection).length;
    const refusal = this.#refusal(room, others);
    if (refusal !== undefined) return this.#send(errorFrame(refusal.code, refusal.message, { room, ref }));
    const start = postroom.subscribe(this.#connection, room, since);
    this.#send(subscribedFrame(room, start, ref));
    this.#context.log.debug({ connection: this.#connection.id, room }, 'joined');
  }

  #leave(room: string): void {
    this.#context.postroom.unsubscribe(this.#connection, room);
    this.#context.log.debug({ connection: this.#connection.id, room }, 'left');
  }

  /** Why a room may not be joined, beside so many others; undefined if it may. */
  #refusal(room: string, others: number): { code: FrameErrorCode; message: string } | undefined {
    const refusal = this.#fault(room, others);
    if (refusal !== undefined) {
      const about = { room, reason: refusal.code, user: this.#identity.user, address: this.#address() };
      this.#context.refusals.refused('refused room', about);
    }
    return refusal;
  }

  #fault(room: string, others: number): { code: FrameErrorCode; message: string } | undefined {
    const { publicRooms, maxRoomsPerConnection } = this.#context.settings;
    if (!isRoomName(room))
      return { code: 'invalid_room', message: `This is no room name; one has ${ROOM_RULE}.` };
    if (!mayJoin(this.#identity, publicRooms, room))
      return {
        code: 'forbidden',
        message:
          this.#identity.expires === undefined
            ? 'This room needs a token whose "rooms" allows it.'
            : 'The token\'s "rooms" does not allow this room.',
      };
    if (others >= maxRoomsPerConnection)
      return {
        code: 'too_many_rooms',
        message: `A connection may join ${maxRoomsPerConnection} rooms; leave one first.`,
      };
    return undefined;
  }

  #renew(token: string, ref: Ref): void {
    const { postroom, tokens, settings } = this.#context;
    try {
      const identity = tokens.verify(token);
      const { user } = this.#connection;
      if (user !== undefined && identity.user !== user)
        return this.#send(
          errorFrame('forbidden', 'The token is for another user; open a new connection for it.', { ref }),
        );
      this.#identity = identity;
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      this.#context.refusals.refused('bad token', { reason: error.message, address: this.#address() });
      this.#send(errorFrame('invalid_token', `${error.message}.`, { ref }));
      this.#close(error.fault === 'expired' ? CLOSE.tokenExpired : CLOSE.invalidToken);
      return;
    }
    if (this.#connection.user === undefined && this.#identity.user !== undefined) {
      if (hasTooMany(this.#context, this.#identity.user)) return this.#close(CLOSE.tooManyConnections);
      postroom.identify(this.#connection, this.#identity.user);
    }
    this.#send(tokenFrame(this.#identity.expires, ref));
    this.#watchExpiry();
    for (const room of postroom.roomsOf(this.#connection)) {
      if (mayJoin(this.#identity, settings.publicRooms, room)) continue;
      this.#leave(room);
      this.#send(unsubscribedFrame(room));
    }
  }

  /** Closes the connection when the token it now has is over. */
  #watchExpiry(): void {
    const { timetable, now } = this.#context;
    if (this.#expiry !== undefined) timetable.remove(this.#expiry);
    const { expires } = this.#identity;
    if (expires === undefined) return;
    const secondsLeft = () => expires + CLOCK_TOLERANCE_SECONDS - now() / 1000;
    this.#expiry = {
      dueAt: 0,
      due: () => {
        const left = secondsLeft();
        if (left > 0) return Math.min(left, MAX_WAIT_SECONDS);
        this.#close(CLOSE.tokenExpired);
        return undefined;
      },
    };
    timetable.add(this.#expiry, Math.min(secondsLeft(), MAX_WAIT_SECONDS));
  }

  #send(frame: Buffer): void {
    this.#context.postroom.send(this.#connection, frame);
  }

  #close(reason: CloseReason): void {
    this.#context.postroom.close(this.#connection, reason);
  }

  #forget(): void {
    this.#context.postroom.disconnect(this.#connection);
    this.#context.timetable.remove(this);
    if (this.#expiry !== undefined) this.#context.timetable.remove(this.#expiry);
  }
}
