import { Patterns } from '../model/pattern.js';

/** The user of a connection, and the rooms that the connection may join. */
export interface Identity {
  /** The token's `sub`; undefined if there is none. */
  readonly user: string | undefined;
  /** The token's `info`, a JSON object: what members of a presence room see of the user. */
  readonly info: string | undefined;
  /** Rooms that the token allows. */
  readonly rooms: Patterns;
  /** Rooms that the token lets the client publish to. */
  readonly publish: Patterns;
  /** The token's `iat`, seconds since the epoch. */
  readonly issuedAt: number | undefined;
  /** The token's `exp`, seconds since the epoch; undefined without a token. */
  readonly expires: number | undefined;
}

/** A connection without a token. */
export const ANONYMOUS: Identity = {
  user: undefined,
  info: undefined,
  rooms: new Patterns([]),
  publish: new Patterns([]),
  issuedAt: undefined,
  expires: undefined,
};

/** Whether an identity may join a room: its own patterns or the public ones must match. */
export function mayJoin(identity: Identity, publicRooms: Patterns, room: string): boolean {
  return publicRooms.match(room) || identity.rooms.match(room);
}

/** Whether an identity may publish to a room. */
export function mayPublish(identity: Identity, room: string): boolean {
  return identity.publish.match(room);
}
