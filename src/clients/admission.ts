import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { ANONYMOUS, type Identity, mayJoin, mayPublish } from '../auth/identity.js';
import type { Revocations } from '../auth/revocations.js';
import { CLOCK_TOLERANCE_SECONDS, TokenError, type Tokens } from '../auth/tokens.js';
import type { Connection, Peer } from '../core/connection.js';
import type { Postroom } from '../core/postroom.js';
import { isRoomName, ROOM_RULE } from '../model/address.js';
import type { Caller } from '../model/network-address.js';
import type { Patterns } from '../model/pattern.js';
import type { Refusals } from '../model/refusals.js';
import type { Timer, TimerWheel } from './timer-wheel.js';
import type { UserAgents } from './user-agents.js';

// A token that lasts longer is checked again after a day.
const LONGEST_WAIT_SECONDS = 24 * 60 * 60;

/** The shared parts of all admissions. */
export interface AdmissionContext {
  readonly postroom: Postroom;
  readonly tokens: Tokens;
  readonly revocations: Revocations;
  readonly timers: TimerWheel;
  readonly log: Logger;
  readonly refusals: Refusals;
  readonly userAgents: UserAgents;
  /** The network address of a caller. */
  readonly callerOf: (from: Caller) => string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly settings: {
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
  #expiry: Timer | undefined;

  /** @param headers of the client's request */
  constructor(context: AdmissionContext, socket: Socket, headers: IncomingHttpHeaders) {
    const forwardedFor = headers['x-forwarded-for'];
    this.#context = context;
    this.#socket = socket;
    this.#forwardedFor = forwardedFor && String(forwardedFor);
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

  /** Takes the client's token. Throws a TokenError, which is logged. */
  identify(token: string): void {
    this.#identity = this.#verify(token);
  }

  /**
   * Takes a new token for an open connection. If it is for another user, returns `other_user` and changes nothing.
   * Throws a TokenError, which is logged.
   */
  renew(connection: Connection, token: string): 'renewed' | 'other_user' | 'too_many_connections' {
    const identity = this.#verify(token);
    if (connection.user !== undefined && identity.user !== connection.user) return 'other_user';
    this.#identity = identity;
    if (connection.user === undefined && this.isOneTooMany) return 'too_many_connections';
    if (identity.user !== undefined)
      this.#context.postroom.identify(connection, identity.user, identity.info);
    this.watchExpiry(connection);
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

  /** Closes the connection when the client's current token is over. */
  watchExpiry(connection: Connection): void {
    const { timers, postroom, now } = this.#context;
    this.end();
    const { expires } = this.#identity;
    if (expires === undefined) return;
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

  /** Stops watching the token. */
  end(): void {
    if (this.#expiry !== undefined) this.#context.timers.remove(this.#expiry);
  }

  #verify(token: string): Identity {
    const { tokens, revocations, refusals } = this.#context;
    try {
      const identity = tokens.verify(token);
      if (revocations.isRevoked(identity)) throw new TokenError('invalid', whyRevoked(identity));
      return identity;
    } catch (error) {
      if (error instanceof TokenError)
        refusals.refused('bad token', { reason: error.message, address: this.address });
      throw error;
    }
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
    const { expires, rooms } = this.#identity;
    if (expires === undefined) return 'This room needs a token whose "rooms" allows it.';
    return rooms.isEmpty ? 'The token has no "rooms".' : 'The token\'s "rooms" does not allow this room.';
  }
}

function whyRevoked({ issuedAt }: Identity): string {
  return issuedAt === undefined
    ? 'the tokens of this user were revoked, and this one does not say when it was made; put iat (the current second) into it'
    : 'the token was revoked; get a new one';
}
