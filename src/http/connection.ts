import type { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';

// Bytes that node:http gets at a time. It makes objects for every request in them before anyone can stop it.
const PIECE_BYTES = 2048;

const { push } = Socket.prototype;
const EMPTY = Buffer.alloc(0);

/** A connection calls these. */
export interface ConnectionEvents {
  /** This request is the next to be answered. */
  request(connection: HttpConnection, request: IncomingMessage, response: ServerResponse): void;
  /** All requests are answered. */
  idle(connection: HttpConnection): void;
  /** Whether the bytes that were read must wait. If so, `goOn` is called in a later turn of the event loop. */
  mustWait(connection: HttpConnection): boolean;
}

/**
 * A TCP connection that gives node:http the bytes of one request at a time. Later bytes wait here until the answer has
 * left, and no more are read meanwhile. So one peer makes us hold one answer and 64 KiB. This replaces the socket's
 * `push`.
 */
export class HttpConnection {
  readonly socket: Socket;
  readonly #events: ConnectionEvents;
  /** Bytes read and not given to node:http yet. */
  #held: Buffer | undefined;
  #hasEnded = false;
  #last: { readonly request: IncomingMessage; readonly response: ServerResponse } | undefined;
  #isAnswering = false;
  /** Requests that came in one piece with the request that is being answered. */
  #next: [request: IncomingMessage, response: ServerResponse][] | undefined;
  #isReleased = false;
  /** Whether bytes that were read wait for their turn. */
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

  /** Adds a request that node:http has read. It is answered after those before it. */
  add(request: IncomingMessage, response: ServerResponse): void {
    if (!this.#isAnswering) return this.#begin(request, response);
    this.#next ??= [];
    this.#next.push([request, response]);
  }

  /** Gives the socket back its own `push`. Returns the bytes that node:http has not got. */
  release(): Buffer {
    const { socket } = this;
    this.#isReleased = true;
    socket.push = push;
    // The last piece did not go through `push`. Without a push the socket would never read again.
    if (this.#held !== undefined) socket.push(EMPTY);
    socket.off('data', ignore);
    socket.setTimeout(0);
    if (this.#hasEnded) socket.push(null);
    return this.#held ?? EMPTY;
  }

  /** Makes node:http read through `push`. Otherwise it reads natively, and takes everything that comes. */
  intercept(): void {
    this.socket.on('data', ignore);
  }

  /** Called when its turn has come. */
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

  /** Gives node:http the bytes of the request that is to be read now. Returns whether more may be read. */
  #handOn(): boolean {
    let isMoreWanted = true;
    while (this.#held !== undefined && !this.#isReleased && !this.#isWaiting && !this.#isUnanswered()) {
      const piece = this.#held.subarray(0, PIECE_BYTES);
      this.#held = piece.length === this.#held.length ? undefined : this.#held.subarray(PIECE_BYTES);
      isMoreWanted = this.#give(piece);
    }
    if (this.#held !== undefined || this.#isWaiting) return false;
    // After the end of the peer's side, node:http answers nothing more: so the end comes after all answers.
    if (!this.#hasEnded || this.#isUnanswered()) return isMoreWanted;
    this.#hasEnded = false;
    return push.call(this.socket, null);
  }

  /** Each `push` makes the socket read on. So `push` is only for the last piece, or if the reader has paused. */
  #give(piece: Buffer): boolean {
    const { socket } = this;
    const isFlowing = socket.readableFlowing === true && socket.readableLength === 0;
    if (this.#held === undefined || !isFlowing) return push.call(socket, piece);
    socket.emit('data', piece);
    return true;
  }

  /** Whether a complete request has no answer yet. */
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
    // Other peers get their turn between two answers to one peer.
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
