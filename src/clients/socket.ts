import type { Socket as NetSocket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Socket } from '../core/connection.js';
import type { CloseReason } from '../model/close.js';

const EMPTY = Buffer.alloc(0);
// A write may take so many heartbeats: with the defaults, 1 MiB at 4 KiB a second.
const MAX_STUCK_BEATS = 10;

// In this time the close frame leaves.
const ABANDON_MS = 1000;

/** The close code and text of a protocol for each reason. */
export type Closing = (reason: CloseReason) => { readonly code: number; readonly text: string };

/**
 * A ws socket as the core sees it. Whole frames go straight to the network socket, in one write, so one buffer serves a
 * thousand connections. ws does the closing and the reading.
 */
export class WsSocket implements Socket {
  readonly #ws: WebSocket;
  readonly #net: NetSocket;
  readonly #closing: Closing;
  /** State at the last heartbeat. */
  #beaten = false;
  #read = 0;
  #taken = 0;
  #stuckBeats = 0;
  /** Reasons to read nothing. */
  #isFull = false;
  #isHeld = false;
  #isAbandoned = false;

  /** @param net the socket that was handed to `handleUpgrade` */
  constructor(ws: WebSocket, net: NetSocket, closing: Closing) {
    this.#ws = ws;
    this.#net = net;
    this.#closing = closing;
  }

  get waiting(): number {
    return this.#net.writableLength;
  }

  write(bytes: Buffer, taken?: () => void): void {
    if (taken === undefined) this.#net.write(bytes);
    else this.#net.write(bytes, error => error ?? taken());
  }

  close(reason: CloseReason): void {
    const { code, text } = this.#closing(reason);
    this.#ws.close(code, text);
  }

  /** Drops the connection without a closing handshake. */
  terminate(): void {
    this.#ws.terminate();
  }

  /** Reads nothing more from the peer until it has taken everything that was written to it. */
  pauseUntilTaken(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    this.#ws.pause();
    this.#net.write(EMPTY, () => {
      this.#isFull = false;
      this.#resume();
    });
  }

  /** Reads nothing more from the peer until `release`. */
  hold(): void {
    this.#isHeld = true;
    this.#ws.pause();
  }

  release(): void {
    this.#isHeld = false;
    this.#resume();
  }

  /**
   * The peer broke the protocol, and ws has sent a close frame. Reads nothing more, and drops the connection soon: ws
   * would read for 30 s, as fast as the peer can send.
   */
  abandon(): void {
    this.#isAbandoned = true;
    // After ws, which resumes reading to wait for the peer's close frame.
    process.nextTick(() => this.#net.pause());
    setTimeout(() => this.#net.destroy(), ABANDON_MS).unref();
  }

  #resume(): void {
    if (this.#isAbandoned) return;
    if (!this.#isFull && !this.#isHeld) this.#ws.resume();
  }

  /**
   * Whether the peer is alive: it sent something since the last call. Pings queue behind data, so a peer with a full
   * socket gets ten heartbeats to take some of the data. Node shows no progress before a whole write has left.
   */
  beat(): boolean {
    const read = this.#net.bytesRead;
    const taken = this.#net.bytesWritten - this.#net.writableLength;
    const hasSigned = !this.#beaten || read !== this.#read;
    const isStuck = this.#stuckBeats > 0;
    const hasTaken = isStuck && taken !== this.#taken;
    const alive = hasSigned || hasTaken || (isStuck && this.#stuckBeats < MAX_STUCK_BEATS);
    const waits = this.#net.writableLength > 0;
    this.#stuckBeats = waits ? (hasSigned || hasTaken ? 1 : this.#stuckBeats + 1) : 0;
    this.#beaten = true;
    this.#read = read;
    this.#taken = taken;
    return alive;
  }
}
