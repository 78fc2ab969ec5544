import type { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';

// Bytes that node:http is given at a time: it makes objects for every request in them before anyone can stop it.
const PIECE_BYTES = 2048;

// Node's own.
const { push } = Socket.prototype;

/** Told when a connection begins or ends to answer. */
export interface ConnectionEvents {
  /** A request has come, and is the next to be answered. */
  request(connection: HttpConnection, request: IncomingMessage, response: ServerResponse): void;
  /** All that was asked is answered. */
  idle(connection: HttpConnection): void;
  /** Whether what was read must wait for a turn of the event loop that has more time; then `goOn` is called in it. */
  mustWait(connection: HttpConnection): boolean;
}

/**
 * A TCP connection on which node:http gets the bytes of one request at a time. Bytes behind it wait here until its
 * answer has left, and no more are read meanwhile. So one peer makes us hold one answer and 64 KiB. For this, the
 * socket's `push` is replaced.
 */
export class HttpConnection {
  readonly socket: Socket;
  readonly #events: ConnectionEvents;
  /** Bytes read and not given to node:http yet. */
  #held: Buffer | undefined;
  #hasEnded = false;
  #last: { readonly request: IncomingMessage; readonly response: ServerResponse } | undefined;
  #isAnswering = false;
  /** Requests that came in one piece with the one that is being answered. */
  #next: [request: IncomingMessage, response: ServerResponse][] | undefined;
  #isReleased = false;
  /** What was read waits for its turn. */
  #isWaiting = false;

  constructor(socket: Socket, events: ConnectionEvents) {
    this.socket = socket;
    this.#events = events;
    socket.push = chunk => this.#take(chunk);
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
    if (!this.#isAnswering) return this.#begin(request, response);
    this.#next ??= [];
    this.#next.push([request, response]);
  }

  /** Stops standing between the socket and its reader. Returns what was read and not handed on. */
  release(): Buffer {
    const { socket } = this;
    this.#isReleased = true;
    socket.push = push;
    socket.off('data', ignore);
    socket.setTimeout(0);
    if (this.#hasEnded) socket.push(null);
    return this.#held ?? Buffer.alloc(0);
  }

  /** Has node:http read by way of `push`: natively it would take in all that comes. */
  intercept(): void {
    this.socket.on('data', ignore);
  }

  /** Its turn has come. */
  goOn(): void {
    this.#isWaiting = false;
    if (!this.socket.destroyed && !this.#isReleased) this.#handOn();
  }

  /** Returns whether more may be read. */
  #take(chunk: Buffer | null): boolean {
    if (chunk === null) this.#hasEnded = true;
    else this.#held = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    this.#isWaiting ||= this.#events.mustWait(this);
    return this.#handOn();
  }

  /** Gives node:http what belongs to a request that is to be read now. */
  #handOn(): boolean {
    let isMoreWanted = true;
    while (this.#held !== undefined && !this.#isReleased && !this.#isWaiting && !this.#isUnanswered()) {
      const piece = this.#held.subarray(0, PIECE_BYTES);
      this.#held = piece.length === this.#held.length ? undefined : this.#held.subarray(PIECE_BYTES);
      isMoreWanted = this.#give(piece);
    }
    if (this.#held !== undefined || this.#isWaiting) return false;
    // Of a peer that has ended its side node:http answers nothing more.
    if (!this.#hasEnded || this.#isUnanswered()) return isMoreWanted;
    this.#hasEnded = false;
    return push.call(this.socket, null);
  }

  /** Each `push` has the socket read on. So it is only for the last piece, or where the reader has paused. */
  #give(piece: Buffer): boolean {
    const { socket } = this;
    const isFlowing = socket.readableFlowing === true && socket.readableLength === 0;
    if (this.#held === undefined || !isFlowing) return push.call(socket, piece);
    socket.emit('data', piece);
    return true;
  }

  /** Whether a whole request is here that has no answer yet. */
  #isUnanswered(): boolean {
    return this.#next !== undefined || (this.#isAnswering && this.#last?.request.complete === true);
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    this.#last = { request, response };
    this.#isAnswering = true;
    response.on('close', () => this.#answered());
    this.#events.request(this, request, response);
  }

  #answered(): void {
    this.#isAnswering = false;
    if (this.socket.destroyed || this.#isReleased) return;
    // Others get their turn between two answers to one peer.
    if (this.#next !== undefined || this.#held !== undefined || this.#hasEnded)
      setImmediate(() => this.#answerNext());
    else this.#events.idle(this);
  }

  #answerNext(): void {
    if (this.socket.destroyed || this.#isReleased) return;
    const next = this.#next?.shift();
    if (this.#next?.length === 0) this.#next = undefined;
    if (next !== undefined) this.#begin(...next);
    this.#handOn();
    if (!this.#isAnswering && !this.#isReleased) this.#events.idle(this);
  }
}

function ignore(): void {}
