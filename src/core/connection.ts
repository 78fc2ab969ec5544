import { type Address, BROADCAST, connectionAddress, roomOf, userAddress } from '../model/address.js';
import type { CloseReason } from '../model/close.js';
import { newConnectionId } from '../model/connection-id.js';
import type { Id } from '../model/id.js';
import type { Entry } from '../model/notification.js';
import type { FrameNode } from './frame-node.js';
import type { Seen } from './seen-ranges.js';

/** A connection's socket, as far as the core needs it. */
export interface Socket {
  /** Bytes written that the kernel has not taken yet. */
  readonly waiting: number;
  /** Writes whole frames, in order. `taken` is called when the kernel has taken these and all earlier bytes. */
  write(bytes: Buffer, taken?: () => void): void;
  /** Sends everything written before, then closes. Nothing may be written after it. */
  close(reason: CloseReason): void;
}

/** How one protocol encodes frames. There is one object for each protocol: cached frames are found by it. */
export interface Wire {
  /** The protocol's name, for operators. */
  readonly protocol: string;
  /** The bytes of one whole frame. `room` is the room that the entry came through, if it came through one. */
  notification(entry: Entry, room: string | undefined): Buffer;
  /** Tells a connection that it has joined a room. */
  subscribed(room: string, start: StartPoint, members: MemberList | undefined): Buffer;
  /** Tells a connection that it has left a room. */
  unsubscribed(room: string): Buffer;
  /** Tells the members of a presence room what has changed. */
  members(room: string, change: MembersChange): Buffer;
}

/** A user in a presence room. */
export interface Member {
  readonly user: string;
  /** A JSON object: the token's `info`. */
  readonly info: string | undefined;
}

/** The members of a presence room, as a member gets them. */
export interface MemberList {
  /** The same array until the members of the room have been told of the next changes. */
  readonly told: readonly Member[];
  /** The user of the connection, if the other members have not been told of it yet. */
  readonly self: Member | undefined;
}

/** A change of the members of a presence room: of one member, or of all of them. */
export type MembersChange =
  | { readonly type: 'joined' | 'changed'; readonly member: Member }
  | { readonly type: 'left'; readonly user: string }
  | { readonly type: 'members'; readonly list: MemberList }
  | { readonly type: 'count'; readonly count: number };

/** Who is at the other end of a connection, for operators. */
export interface Peer {
  /** The network address. */
  readonly address: string;
  /** The header `User-Agent`. */
  readonly userAgent: string | undefined;
}

/** The point where a connection, or a room that it joins, begins. */
export interface StartPoint {
  /** The cursor: everything that follows is newer. */
  readonly id: Id;
  /** Whether everything since the client's cursor comes; undefined if the client gave no cursor. */
  readonly recovered: boolean | undefined;
}

/**
 * The state of a connection that is not live. It is served from the window, at the pace of its socket. All positions
 * are the window's. While pasts of rooms are replayed, the cursor stands still.
 */
export interface Reading {
  /** Every entry before this position was sent, or is not for this connection. */
  cursor: number;
  /** For each address: entries before this position are history, and are not replayed if their ttl is over. */
  readonly past: Map<Address, number>;
  /** Pasts of rooms that were requested after the connection was opened, in this order. */
  readonly replays: Replay[];
  /** Whether the connection waits to be served. */
  isQueued: boolean;
}

/** The past of one room that is being sent to a connection. */
export interface Replay {
  readonly address: Address;
  readonly from: number;
  /** The first position after the past. */
  readonly until: number;
  /** Everything before this position was sent. */
  next: number;
}

/** What the core knows of one connection. Its fields belong to the core; others only read them. */
export class Connection {
  readonly id = newConnectionId();
  readonly socket: Socket;
  readonly wire: Wire;
  readonly peer: Peer;
  /** Milliseconds since the epoch. */
  readonly openedAt: number;
  user: string | undefined;
  /** A JSON object: what members of a presence room see of the user. */
  info: string | undefined;
  /** The joined addresses, each with the window's position from which the connection gets its entries. */
  readonly joined = new Map<Address, number>();
  /** Undefined while the connection is live. */
  reading: Reading | undefined;
  /** Entries that came through addresses that were left: the past of another address may contain them too. */
  seen: Seen | undefined;
  /** Rooms that a backend has put the connection into. They need no token, and do not count for its limit. */
  assigned: Set<string> | undefined;
  /** Presence rooms whose members it is to be told anew, as soon as there is room for them. */
  untold: Set<string> | undefined;
  /** The frames that wait for the end of this turn of the event loop. */
  pending: FrameNode | undefined;
  /** Whether it goes on with the past of an earlier connection. */
  isResumed = false;
  /** Number of the last delivery that reached this connection. */
  lastDelivery = 0;
  closed = false;

  constructor(
    socket: Socket,
    wire: Wire,
    about: { user: string | undefined; info: string | undefined; peer: Peer; openedAt: number },
  ) {
    this.socket = socket;
    this.wire = wire;
    this.user = about.user;
    this.info = about.info;
    this.peer = about.peer;
    this.openedAt = about.openedAt;
  }

  /** The rooms that it is in. */
  get rooms(): string[] {
    return [...this.joined.keys()].flatMap(address => roomOf(address) ?? []);
  }

  /** The addresses that a connection listens to without joining. */
  ownAddresses(): Address[] {
    const own: Address[] = [BROADCAST, connectionAddress(this.id)];
    if (this.user !== undefined) own.push(userAddress(this.user));
    return own;
  }
}
