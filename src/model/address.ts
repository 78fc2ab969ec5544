/**
 * Whom a notification is for, as one string. So one table serves all kinds: for listeners (hub), and for the past
 * (window).
 */
export type Address = `room:${string}` | `user:${string}` | `connection:${string}` | 'everyone';

export const BROADCAST = 'everyone';

const ROOM_PREFIX = 'room:';
const USER_PREFIX = 'user:';
const CONNECTION_PREFIX = 'connection:';
const ROOM_NAME = /^[\p{L}\p{Nd}_\-=@.;:/]{1,200}$/u;
const CONNECTION_ID = /^\d{1,20}\.\d{1,20}$/;

export const ROOM_RULE = '1 to 200 characters out of Unicode letters and digits and _ - = @ . ; : /';

export function roomAddress(name: string): Address {
  return `${ROOM_PREFIX}${name}`;
}

export function userAddress(id: string): Address {
  return `${USER_PREFIX}${id}`;
}

/** The user's id; undefined if the address is no user. */
export function userOf(address: Address): string | undefined {
  return address.startsWith(USER_PREFIX) ? address.slice(USER_PREFIX.length) : undefined;
}

export function connectionAddress(id: string): Address {
  return `${CONNECTION_PREFIX}${id}`;
}

/** The connection's id; undefined if the address is no connection. */
export function connectionOf(address: Address): string | undefined {
  return address.startsWith(CONNECTION_PREFIX) ? address.slice(CONNECTION_PREFIX.length) : undefined;
}

/** The room's name; undefined if the address is no room. */
export function roomOf(address: Address): string | undefined {
  return address.startsWith(ROOM_PREFIX) ? address.slice(ROOM_PREFIX.length) : undefined;
}

export function isRoomName(text: string): boolean {
  return ROOM_NAME.test(text);
}

export function isConnectionId(text: string): boolean {
  return CONNECTION_ID.test(text);
}
