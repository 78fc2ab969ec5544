import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import { ANONYMOUS, type Identity, mayJoin, mayPublish } from '../auth/identity.js';
import { CLOCK_TOLERANCE_SECONDS, TokenError, type Tokens } from '../auth/tokens.js';
import type { Connection, Peer } from '../core/connection.js';
import { isRoomName, ROOM_RULE } from '../model/address.js';
import type { Caller } from '../model/network-address.js';
import type { Patterns } from '../model/pattern.js';
import { unavailable } from '../model/problem.js';
import type { Refusals } from '../model/refusals.js';
import { CookieSession, type CookieSessionContext } from './cookie-session.js';
import type { Timer } from './timer-wheel.js';
import type { UserAgents } from './user-agents.js';

// A token that lasts longer is checked again after a day.
const LONGEST_WAIT_SECONDS = 24 * 60 * 60;
const RETRY_AFTER_SECONDS = 5;

/** The shared parts of all admissions. */
export interface AdmissionContext extends CookieSessionContext {
  readonly tokens: Tokens;
  readonly refusals: Refusals;
  readonly userAgents: UserAgents;
  /** The network address of a caller. */
  readonly callerOf: (from: Caller) => string;
  readonly settings: CookieSessionContext['settings'] & {
    readonly publicRooms: Patterns;
    readonly maxRoomsPerConnection: number;
    readonly maxConnectionsPerUser: number;
  };
}

/** Why a client may not join a room. */
export interface RoomRefusal {
  readonly code: 'invalid_room' | 'forbidden' | 'too_many_rooms';
  readonly message: string;
}

/** Who a client is, which rooms it may join, and until when. It is the same in every protocol. */
export class Admission implements Peer {
  readonly #context: AdmissionContext;
  readonly #socket: Socket;
  readonly #forwardedFor: string | undefined;
  readonly userAgent: string | undefined;
  #identity: Identity = ANONYMOUS;
  /** Of a client with cookies that came without a token. */
  #session: CookieSession | undefined;
  #expiry: Timer | undefined;

  /** @param headers of the client's request */
  constructor(context: AdmissionContext, socket: Socket, headers: IncomingHttpHeaders) {
    const forwardedFor = headers['x-forwarded-for'];
    this.#context = context;
    this.#socket = socket;
    this.#forwardedFor = forwardedFor && String(forwardedFor);
    if (context.sessions !== undefined && headers.cookie !== undefined)
      this.#session = new CookieSession(context, headers.cookie, headers.origin);
    this.userAgent = context.userAgents.of(headers['user-agent']);
  }

  get user(): string | undefined {
    return this.#identity.user;
  }

  /** A JSON object: what members of a presence room see of the user. */
  get info(): string | undefined {
    return this.#identity.info;
  }

  /** When the token ends, in seconds since the epoch; undefined without a token. */
  get expires(): number | undefined {
    return this.#identity.expires;
  }

  /** The client's network address. */
  get address(): string {
    const headers = { 'x-forwarded-for': this.#forwardedFor };
    return this.#context.callerOf({ socket: this.#socket, headers });
  }

  /** Whether the user already has all the connections that a user may have on this node. */
  get isOneTooMany(): boolean {
    const { postroom, settings } = this.#context;
    const { user } = this.#identity;
    return user !== undefined && postroom.connectionsOf(user) >= settings.maxConnectionsPerUser;
  }

  /**
   * What to wait for before `identify` or `renew`: a key of the token, or the backend that knows the session. It never
   * rejects, and always ends. Undefined if there is nothing to wait for.
   * @param token undefined if the client has none
   * @param gone aborts when the client has gone away
   */
  prepare(token: string | undefined, gone?: AbortSignal): Promise<void> | undefined {
    if (token !== undefined) return this.#context.tokens.prepare(token);
    return this.#session?.ask(this, gone);
  }

  /**
   * Takes the client's token, or its session, which was asked for. Throws a TokenError, which is logged, or a Problem if
   * it cannot be known now who the client is.
   */
  identify(token: string | undefined): void {
    if (token !== undefined) this.#session = undefined;
    this.#identity = this.#check(() =>
      token === undefined ? (this.#session?.identity ?? ANONYMOUS) : this.#verify(token),
    );
  }

  /**
   * Takes a new token for an open connection. If it is for another user, returns `other_user` and changes nothing.
   * Throws a TokenError, which is logged, or a Problem if the token cannot be checked now.
   */
  renew(connection: Connection, token: string): 'renewed' | 'other_user' | 'too_many_connections' {
    const identity = this.#check(() => this.#verify(token));
    if (connection.user !== undefined && identity.user !== connection.user) return 'other_user';
    this.#identity = identity;
    this.#session?.forget();
    this.#session = undefined;
    if (connection.user === undefined && this.isOneTooMany) return 'too_many_connections';
    this.#apply(connection);
    return 'renewed';
  }

  /** Why a client may not join a room if it is in so many other rooms; undefined if it may. A refusal is logged. */
  refusalOf(room: string, others: number): RoomRefusal | undefined {
    const refusal = this.#refusalOf(room, others);
    if (refusal !== undefined) {
      const about = { room, reason: refusal.code, user: this.user, address: this.address };
      this.#context.refusals.refused('refused room', about);
    }
    return refusal;
  }

  /** Whether the client may join a room, or stay in it. */
  allows(room: string): boolean {
    return mayJoin(this.#identity, this.#context.settings.publicRooms, room);
  }

  /** Whether the client may publish to a room. A refusal is logged. */
  mayPublish(room: string): boolean {
    const may = mayPublish(this.#identity, room);
    if (!may)
      this.#context.refusals.refused('refused publish', { room, user: this.user, address: this.address });
    return may;
  }

  /** Takes an open connection out of the rooms that the client may not be in any more. It is told of each. */
  leaveForbidden(connection: Connection): void {
    for (const room of connection.rooms)
      if (!this.allows(room) && !connection.assigned?.has(room))
        this.#context.postroom.unassign(connection, room);
  }

  /** Closes the connection when the client's token or session is over. */
  watchExpiry(connection: Connection): void {
    this.end();
    if (this.#identity.expires !== undefined) this.#watchEnd(connection, this.#identity.expires);
    else if (this.#session?.hasCookie && this.#identity !== ANONYMOUS)
      return this.#watchSession(connection, this.#session);
    this.#session?.forget();
  }

  /** Stops watching the token. */
  end(): void {
    if (this.#expiry !== undefined) this.#context.timers.remove(this.#expiry);
    this.#expiry = undefined;
  }

  /** Gives an open connection the client's user. */
  #apply(connection: Connection): void {
    const { user, info } = this.#identity;
    if (user !== undefined) this.#context.postroom.identify(connection, user, info);
    this.watchExpiry(connection);
  }

  #watchEnd(connection: Connection, expires: number): void {
    const { timers, postroom, now } = this.#context;
    const secondsLeft = () => expires + CLOCK_TOLERANCE_SECONDS - now() / 1000;
    this.#expiry = {
      dueAt: 0,
      due: () => {
        const left = secondsLeft();
        if (left > 0) return Math.min(left, LONGEST_WAIT_SECONDS);
        postroom.close(connection, 'token_expired');
        return undefined;
      },
    };
    timers.add(this.#expiry, Math.min(secondsLeft(), LONGEST_WAIT_SECONDS));
  }

  #watchSession(connection: Connection, session: CookieSession): void {
    this.#expiry = session.watch(this, connection, identity => {
      this.#identity = identity;
      this.#apply(connection);
      this.leaveForbidden(connection);
    });
  }

  /** Logs why a client is refused. */
  #check(read: () => Identity): Identity {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      if (error.fault === 'unavailable') throw unavailable(`${error.message}.`, RETRY_AFTER_SECONDS);
      this.#context.refusals.refused('bad token', { reason: error.message, address: this.address });
      throw error;
    }
  }

  #verify(token: string): Identity {
    const { tokens, revocations } = this.#context;
    const identity = tokens.verify(token);
    if (revocations.isRevoked(identity)) throw new TokenError('invalid', whyRevoked(identity));
    return identity;
  }

  #refusalOf(room: string, others: number): RoomRefusal | undefined {
    const { maxRoomsPerConnection } = this.#context.settings;
    if (!isRoomName(room))
      return { code: 'invalid_room', message: `This is no room name; one has ${ROOM_RULE}.` };
    if (!this.allows(room)) return { code: 'forbidden', message: this.#whyForbidden() };
    if (others >= maxRoomsPerConnection)
      return {
        code: 'too_many_rooms',
        message: `A connection may join ${maxRoomsPerConnection} rooms (MAX_ROOMS_PER_CONNECTION); leave one first.`,
      };
    return undefined;
  }

  #whyForbidden(): string {
    const { rooms } = this.#identity;
    if (this.#identity === ANONYMOUS) return 'This room needs a token whose "rooms" allows it.';
    const what = this.#session === undefined ? 'token' : 'session';
    return rooms.isEmpty ? `The ${what} has no "rooms".` : `The ${what}'s "rooms" does not allow this room.`;
  }
}

function whyRevoked({ issuedAt }: Identity): string {
  return issuedAt === undefined
    ? 'the tokens of this user were revoked, and this one does not say when it was made; put iat (the current second) into it'
    : 'the token was revoked; get a new one';
}
