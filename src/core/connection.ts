import { type Address, BROADCAST, connectionAddress, userAddress } from '../model/address.js';
import type { CloseReason } from '../model/close.js';
import { newConnectionId } from '../model/connection-id.js';
import type { Id } from '../model/id.js';
import type { Entry } from '../model/notification.js';
import type { FrameNode } from './frame-node.js';
import type { Seen } from './seen.js';

/** The socket under a connection, as the core needs it. */
export interface Socket {
  /** Bytes written that the kernel has not taken yet. */
  readonly waiting: number;
  /** Writes whole frames, in order. `taken` is called when the kernel has taken them and all before. */
  write(bytes: Buffer, taken?: () => void): void;
  /** Closes after what was written. No write comes after it. */
  close(reason: CloseReason): void;
}

/** How one protocol looks on the wire. There is one object for each: frames are cached by it. */
export interface Wire {
  /** The protocol's name, for operators. */
  readonly protocol: string;
  /** The bytes of one whole frame; `room` is named only if the entry came through it. */
  notification(entry: Entry, room: string | undefined): Buffer;
  /** What a client is told when it is closed. */
  closing(reason: CloseReason): { readonly code: number; readonly text: string };
}

/** What a connection, or a room that it joins, begins with. */
export interface StartPoint {
  /** The cursor: what follows is newer than this. */
  readonly id: Id;
  /** Whether the past since the cursor that was given is complete; undefined if none was given. */
  readonly recovered: boolean | undefined;
}

/**
 * A connection that is not live: it is served from the window, at the pace of its socket. All positions
 * are the window's. While past rooms are being replayed, the cursor stands still.
 */
export interface Reading {
  /** Everything before it was sent, or is not for this connection. */
  cursor: number;
  /** Entries of an address before its position are history: expired ones are not replayed. */
  readonly past: Map<Address, number>;
  /** Rooms whose past was asked for later, in the order of asking. */
  readonly replays: Replay[];
  /** It waits to be served. */
  isQueued: boolean;
}

/** The past of one room, on its way to a connection. */
export interface Replay {
  readonly address: Address;
  readonly from: number;
  /** The first position that is not part of it. */
  readonly until: number;
  /** What is before it was sent. */
  next: number;
}

/** What the core knows of one connection. Its fields belong to the core; everybody else reads `id` and `user`. */
export class Connection {
  readonly id = newConnectionId();
  readonly socket: Socket;
  readonly wire: Wire;
  user: string | undefined;
  /** The address, and the window's position from which on it is this connection's. */
  readonly joined = new Map<Address, number>();
  /** Undefined while live. */
  reading: Reading | undefined;
  /** What it saw through addresses that it has left: the past of another address may contain the same entries. */
  seen: Seen | undefined;
  /** The frames that wait for the end of this turn of the event loop. */
  pending: FrameNode | undefined;
  /** Number of the last delivery that reached it. */
  lastDelivery = 0;
  closed = false;

  constructor(socket: Socket, wire: Wire, user: string | undefined) {
    this.socket = socket;
    this.wire = wire;
    this.user = user;
  }

  /** The addresses that it listens to without joining. */
  ownAddresses(): Address[] {
    const own: Address[] = [BROADCAST, connectionAddress(this.id)];
    if (this.user !== undefined) own.push(userAddress(this.user));
    return own;
  }
}
