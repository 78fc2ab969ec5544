import { type Address, BROADCAST, connectionAddress, userAddress } from '../model/address.js';
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

/** What the core knows of one connection. Its fields belong to the core; others read only `id`, `user` and `closed`. */
export class Connection {
  readonly id = newConnectionId();
  readonly socket: Socket;
  readonly wire: Wire;
  user: string | undefined;
  /** The joined addresses, each with the window's position from which the connection gets its entries. */
  readonly joined = new Map<Address, number>();
  /** Undefined while the connection is live. */
  reading: Reading | undefined;
  /** Entries that came through addresses that were left: the past of another address may contain them too. */
  seen: Seen | undefined;
  /** The frames that wait for the end of this turn of the event loop. */
  pending: FrameNode | undefined;
  /** Number of the last delivery that reached this connection. */
  lastDelivery = 0;
  closed = false;

  constructor(socket: Socket, wire: Wire, user: string | undefined) {
    this.socket = socket;
    this.wire = wire;
    this.user = user;
  }

  /** The addresses that a connection listens to without joining. */
  ownAddresses(): Address[] {
    const own: Address[] = [BROADCAST, connectionAddress(this.id)];
    if (this.user !== undefined) own.push(userAddress(this.user));
    return own;
  }
}
