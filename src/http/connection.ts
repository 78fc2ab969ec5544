import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

// Bytes that node:http is given at a time: it makes objects for every request in them before anyone can stop it.
const PIECE_BYTES = 4096;
// After so long without a byte in either direction the connection is looked at.
const QUIET_MS = 15_000;
// So many quiet spells end a connection that nothing is asked on: longer than the idle time of the usual proxies
// and of PHP's handles, so that it is not us who close first.
const MAX_QUIET = 5;
/** How long a connection without a request is kept, in milliseconds. */
export const KEEP_ALIVE_MS = QUIET_MS * MAX_QUIET;

/** Told when a connection begins or ends to wait for a request. */
export interface ConnectionEvents {
  /** A request has come, and is the next to be answered. */
  request(connection: HttpConnection, request: IncomingMessage, response: ServerResponse): void;
  /** All that was asked is answered. */
  idle(connection: HttpConnection): void;
}

/**
 * A TCP connection as node:http sees it. It answers one request after the other: what comes behind a request stays
 * unread until its answer has left. So one peer makes us hold one answer, and what the system read at once (64 KiB).
 * A peer that takes nothing of its answer for 15 to 30 s is dropped.
 */
export class HttpConnection extends Duplex {
  readonly #socket: Socket;
  readonly #events: ConnectionEvents;
  /** Read, and not handed on yet. */
  #held: Buffer | undefined;
  #hasEnded = false;
  /** Whether node:http asks for more. */
  #isAsked = false;
  #last: { readonly request: IncomingMessage; readonly response: ServerResponse } | undefined;
  #isAnswering = false;
  /** Requests that came in one piece with the one that is being answered. */
  readonly #next: [request: IncomingMessage, response: ServerResponse][] = [];
  #quiet = 0;
  #isReleased = false;

  constructor(socket: Socket, events: ConnectionEvents) {
    super({ decodeStrings: false });
    this.#socket = socket;
    this.#events = events;
    socket.on('data', this.#take);
    socket.on('end', this.#end);
    socket.on('error', this.#fail);
    socket.on('close', this.#fail);
    socket.on('timeout', this.#look);
    socket.setTimeout(QUIET_MS);
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress;
  }

  /** The request that is being answered or was answered last. */
  get last() {
    return this.#last;
  }

  get isAnswering(): boolean {
    return this.#isAnswering;
  }

  /** Takes in a request that node:http has read. It is handed on when those before it are answered. */
  add(request: IncomingMessage, response: ServerResponse): void {
    if (this.#isAnswering) this.#next.push([request, response]);
    else this.#begin(request, response);
  }

  /** Hands the TCP connection to somebody else, paused, with what was read of it and not handed on. */
  release(): { readonly socket: Socket; readonly rest: Buffer } {
    const socket = this.#socket;
    socket.pause();
    socket.setTimeout(0);
    socket.off('data', this.#take);
    socket.off('end', this.#end);
    socket.off('error', this.#fail);
    socket.off('close', this.#fail);
    socket.off('timeout', this.#look);
    this.#isReleased = true;
    this.destroy();
    return { socket, rest: this.#held ?? Buffer.alloc(0) };
  }

  /** Closes when what was written has left: node:http asks this of a connection that it does not keep. */
  destroySoon(): void {
    this.end(() => this.destroy());
  }

  override _read(): void {
    this.#isAsked = true;
    this.#handOn();
  }

  override _write(
    chunk: Buffer | string,
    encoding: BufferEncoding,
    done: (error?: Error | null) => void,
  ): void {
    this.#send(chunk, encoding, done);
  }

  override _writev(
    chunks: readonly { readonly chunk: Buffer | string; readonly encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.cork();
    for (const [index, { chunk, encoding }] of chunks.entries())
      this.#send(chunk, encoding, index === chunks.length - 1 ? done : ignore);
    this.#socket.uncork();
  }

  override _final(done: () => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#isReleased) this.#socket.destroy();
    done(error);
  }

  readonly #take = (chunk: Buffer): void => {
    this.#held = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    this.#handOn();
    if (this.#held !== undefined) this.#socket.pause();
  };

  readonly #end = (): void => {
    this.#hasEnded = true;
    this.#handOn();
  };

  readonly #fail = (cause: unknown): void => {
    this.destroy(cause instanceof Error ? cause : undefined);
  };

  /** Nothing has moved for a while. */
  readonly #look = (): void => {
    const isStuck = this.#socket.writableLength > 0;
    // Who waits for an answer of ours is not at fault.
    if (!this.#isAnswering) this.#quiet++;
    if (isStuck || this.#quiet >= MAX_QUIET) this.destroy();
    else this.#socket.setTimeout(QUIET_MS);
  };

  #send(chunk: Buffer | string, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#isReleased) done(new Error('the connection was handed to somebody else'));
    else this.#socket.write(chunk, encoding, done);
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    this.#quiet = 0;
    this.#last = { request, response };
    this.#isAnswering = true;
    response.on('close', this.#answered);
    this.#events.request(this, request, response);
  }

  readonly #answered = (): void => {
    this.#isAnswering = false;
    if (this.destroyed) return;
    if (this.#next.length === 0 && this.#held === undefined) {
      this.#events.idle(this);
      this.#handOn();
    }
    // Others get their turn between two answers to one peer.
    else setImmediate(this.#goOn);
  };

  readonly #goOn = (): void => {
    if (this.destroyed) return;
    const next = this.#next.shift();
    if (next !== undefined) return this.#begin(...next);
    this.#handOn();
    if (!this.#isAnswering) this.#events.idle(this);
  };

  /** Gives node:http what it asks for, as long as that belongs to a request that is to be read now. */
  #handOn(): void {
    while (this.#held !== undefined && this.#isAsked && !this.#isUnanswered()) {
      const piece = this.#held.subarray(0, PIECE_BYTES);
      this.#held = piece.length === this.#held.length ? undefined : this.#held.subarray(PIECE_BYTES);
      this.#isAsked = false;
      this.push(piece);
    }
    if (this.#held !== undefined || this.#isReleased) return;
    if (this.#hasEnded) {
      this.#hasEnded = false;
      this.push(null);
    } else if (this.#isAsked && this.#socket.isPaused()) this.#socket.resume();
  }

  /** Whether a whole request is here that has no answer yet. */
  #isUnanswered(): boolean {
    return this.#next.length > 0 || (this.#isAnswering && this.#last?.request.complete === true);
  }
}

function ignore(): void {}
