import { type Address, connectionAddress, EVERYONE, userAddress } from '../model/address.js';
import type { CloseReason } from '../model/close.js';
import { newConnectionId } from '../model/connection-id.js';
import type { Entry } from '../model/notification.js';
import type { Owed } from './owed.js';
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

/** A wire form: how an entry looks to the clients of one protocol. One object per form, for it is the cache's key. */
export interface Encoder {
  /** The bytes of one whole frame; `room` is named only if the entry came through it. */
  notification(entry: Entry, room: string | undefined): Buffer;
}

/**
 * A connection that is not live: it is served from the window, at the pace of its socket. All positions
 * are the window's. While past rooms are being replayed, the cursor stands still.
 */
export interface Reading {
  /** Everything before it was sent, or was not for this connection. */
  cursor: number;
  /** What an address brought before its position was past when it was asked for: not replayed once its ttl is over. */
  readonly past: Map<Address, number>;
  /** Rooms whose past, from `next` up to `until`, was asked for later, in the order of asking. */
  readonly replays: Replay[];
  /** It waits for its turn to be served. */
  isQueued: boolean;
}

export interface Replay {
  readonly address: Address;
  readonly from: number;
  readonly until: number;
  next: number;
}

/** What the core knows of one connection. Its fields belong to the core; everybody else reads `id` and `user`. */
export class Connection {
  readonly id = newConnectionId();
  readonly socket: Socket;
  readonly encoder: Encoder;
  user: string | undefined;
  /** The address, and the window's position from which on it is this connection's. */
  readonly joined = new Map<Address, number>();
  /** Undefined while live. */
  reading: Reading | undefined;
  /** What it saw through addresses that it has left: another one may bring the same again when its past is asked for. */
  seen: Seen | undefined;
  /** What this turn of the event loop owes it. */
  owed: Owed | undefined;
  /** The delivery that reached it last. */
  mark = 0;
  closed = false;

  constructor(socket: Socket, encoder: Encoder, user: string | undefined) {
    this.socket = socket;
    this.encoder = encoder;
    this.user = user;
  }

  /** The addresses that reach it without its asking. */
  ownAddresses(): Address[] {
    const own: Address[] = [EVERYONE, connectionAddress(this.id)];
    if (this.user !== undefined) own.push(userAddress(this.user));
    return own;
  }
}
