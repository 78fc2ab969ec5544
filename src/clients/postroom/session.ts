import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { RawData, WebSocket } from 'ws';
import { TokenError } from '../../auth/tokens.js';
import type { Connection } from '../../core/connection.js';
import type { Postroom } from '../../core/postroom.js';
import type { CloseReason } from '../../model/close.js';
import { Problem } from '../../model/problem.js';
import type { FairTurns } from '../../model/turns.js';
import type { Admission } from '../admission.js';
import { Allowance } from '../allowance.js';
import { MessageError } from '../message-error.js';
import { Messages, type MessagesOptions } from '../messages.js';
import type { WsSocket } from '../socket.js';
import type { Timer, TimerWheel } from '../timer-wheel.js';
import { type ClientFrame, FrameError, parseClientFrame, type Ref } from './client-frames.js';
import { closeReasonOf } from './close-codes.js';
import { HeldFrames, type Receiver } from './held-frames.js';
import {
  errorFrame,
  PING_FRAME,
  pongFrame,
  publishedFrame,
  resultFrame,
  subscribedFrame,
  tokenFrame,
  unsubscribedFrame,
} from './wire.js';

/** After so many errors the connection is closed. */
export const MAX_ERRORS = 20;
// The close code of a connection that ended without a closing handshake (RFC 6455 §7.1.5).
const ABNORMAL_CLOSURE = 1006;

/** The shared parts of all sessions. */
export interface SessionContext {
  readonly postroom: Postroom;
  readonly timers: TimerWheel;
  readonly messages: MessagesOptions;
  readonly log: Logger;
  /** If many clients send at once, spreads their frames over several turns of the event loop. */
  readonly turns: FairTurns;
  readonly settings: {
    readonly maxBufferedBytes: number;
    readonly pingSeconds: number;
    /** Joins and leaves of one connection; undefined: as many as it likes. */
    readonly maxJoinsPerSecond: number | undefined;
  };
}

/** One client of our protocol. */
export class Session implements Timer, Receiver {
  dueAt = 0;
  readonly #context: SessionContext;
  readonly #socket: WsSocket;
  readonly #admission: Admission;
  readonly #connection: Connection;
  /** Made with the first message: most clients only listen. */
  #messages: Messages | undefined;
  #joins: Allowance | undefined;
  /** Made with the first frame. */
  #frames: HeldFrames | undefined;
  #errors: number;
  #hasWaited = false;

  /** @param errors that the client was told of already */
  constructor(
    context: SessionContext,
    ws: WebSocket,
    socket: WsSocket,
    admission: Admission,
    connection: Connection,
    errors: number,
  ) {
    this.#context = context;
    this.#socket = socket;
    this.#admission = admission;
    this.#connection = connection;
    this.#errors = errors;
    ws.on('message', (data, isBinary) => this.#receive(data, isBinary));
    ws.on('close', code => this.#forget(code));
    ws.on('error', () => this.#context.postroom.disconnect(this.#connection, 'protocol_error'));
    // Random from the start: thousands that come back together must not be pinged together.
    context.timers.add(this, 1 + Math.random() * (context.settings.pingSeconds - 1));
    admission.watchExpiry(this.#connection);
  }

  /** Heartbeat. */
  due(): number | undefined {
    if (this.#connection.closed) return undefined;
    if (!this.#socket.beat()) {
      this.#socket.terminate();
      return undefined;
    }
    // A ping behind waiting bytes would prove nothing.
    if (this.#socket.waiting === 0) this.#send(PING_FRAME);
    return this.#context.settings.pingSeconds;
  }

  get isClosed(): boolean {
    return this.#connection.closed;
  }

  take(data: RawData, isBinary: boolean): void {
    try {
      if (isBinary) this.#close('binary_frame');
      else this.#answer(String(data));
      this.#holdBack();
    } catch (error) {
      this.fail(error);
    }
  }

  hold(): void {
    this.#socket.hold();
  }

  release(): void {
    this.#socket.release();
  }

  fail(error: unknown): void {
    this.#context.postroom.disconnect(this.#connection, 'internal');
    failed(this.#context, this.#socket, error);
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (!this.#connection.closed) this.#held.receive(data, isBinary);
  }

  get #held(): HeldFrames {
    this.#frames ??= new HeldFrames(this, this.#context.turns);
    return this.#frames;
  }

  /** If a client sends but does not take its answers, reads nothing more from it until it does. */
  #holdBack(): void {
    const { postroom, settings } = this.#context;
    if (postroom.waiting(this.#connection) <= settings.maxBufferedBytes) return;
    postroom.flush(this.#connection);
    this.#socket.pauseUntilTaken();
  }

  #answer(text: string): void {
    try {
      this.#handle(parseClientFrame(text));
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#send(errorFrame(error.code, error.message, { ref: error.ref }));
      if (++this.#errors >= MAX_ERRORS) this.#close('too_many_errors');
    }
  }

  #handle(frame: ClientFrame): void {
    switch (frame.type) {
      case 'subscribe':
        return this.#inTurn(() => this.#subscribe(frame.room, frame.since, frame.ref));
      case 'unsubscribe':
        return this.#inTurn(() => {
          this.#leave(frame.room);
          this.#send(unsubscribedFrame(frame.room, frame.ref));
        });
      case 'token':
        return this.#renewWhenPrepared(frame.token, frame.ref);
      case 'ping':
        return this.#send(pongFrame(frame.ref));
      case 'ack':
        return this.#context.postroom.receipts.acknowledge(this.#connection, frame.id);
      case 'publish':
        return this.#answerLater(this.#talk.publish(frame), publishedFrame, frame.ref);
      case 'call':
        return this.#answerLater(this.#talk.call(frame.event, frame.data), resultFrame, frame.ref);
    }
  }

  get #talk(): Messages {
    this.#messages ??= new Messages(this.#context.messages, this.#connection, this.#admission);
    return this.#messages;
  }

  /** Refused messages do not count as errors: a client that is too fast is not closed. */
  #answerLater<T>(result: Promise<T>, frameOf: (result: T, ref: Ref) => Buffer, ref: Ref): void {
    result
      .then(
        value => this.#send(frameOf(value, ref)),
        (error: unknown) => {
          if (!(error instanceof MessageError)) throw error;
          this.#send(errorFrame(error.code, error.message, { ref }));
        },
      )
      .catch(error => this.fail(error));
  }

  /** If the backend hears of joins and leaves, a client makes only so many a second. Its later frames wait too. */
  #inTurn(join: () => void): void {
    const { maxJoinsPerSecond } = this.#context.settings;
    if (maxJoinsPerSecond === undefined) return join();
    this.#joins ??= new Allowance(maxJoinsPerSecond);
    if (this.#joins.take(this.#context.messages.elapsed())) return join();
    this.#held.goOnAfter(sleep(1000 / maxJoinsPerSecond), () => this.#inTurn(join));
  }

  #subscribe(room: string, since: string | undefined, ref: Ref): void {
    const { postroom } = this.#context;
    if (since !== undefined && !this.#hasWaited && postroom.isAhead(since))
      return this.#subscribeLater(room, since, ref);
    this.#subscribeNow(room, since, ref);
  }

  /** A connection may do this once. */
  #subscribeLater(room: string, since: string, ref: Ref): void {
    this.#hasWaited = true;
    this.#held.goOnAfter(this.#context.postroom.catchUp(since), () => this.#subscribeNow(room, since, ref));
  }

  #subscribeNow(room: string, since: string | undefined, ref: Ref): void {
    const { postroom } = this.#context;
    const { assigned } = this.#connection;
    const refusal = assigned?.has(room)
      ? undefined
      : this.#admission.refusalOf(room, this.#roomsBeside(room));
    if (refusal !== undefined) return this.#send(errorFrame(refusal.code, refusal.message, { room, ref }));
    const start = postroom.subscribe(this.#connection, room, since);
    const members = postroom.presence.listFor(this.#connection, room);
    this.#send(subscribedFrame(room, start, members, ref));
    this.#context.log.debug({ connection: this.#connection.id, room }, 'joined');
  }

  /** How many rooms count for the limit, if the client joins this one. */
  #roomsBeside(room: string): number {
    const { postroom } = this.#context;
    if (postroom.isIn(this.#connection, room)) return 0;
    return this.#connection.rooms.length - (this.#connection.assigned?.size ?? 0);
  }

  #leave(room: string): void {
    this.#context.postroom.unsubscribe(this.#connection, room);
    this.#context.log.debug({ connection: this.#connection.id, room }, 'left');
  }

  #renewWhenPrepared(token: string, ref: Ref): void {
    const prepared = this.#admission.prepare(token);
    if (prepared === undefined) this.#renew(token, ref);
    else this.#held.goOnAfter(prepared, () => this.#renew(token, ref));
  }

  #renew(token: string, ref: Ref): void {
    const admission = this.#admission;
    try {
      const result = admission.renew(this.#connection, token);
      if (result === 'other_user')
        return this.#send(
          errorFrame('forbidden', 'The token is for another user; open a new connection for it.', { ref }),
        );
      if (result === 'too_many_connections') return this.#close(result);
    } catch (error) {
      // The old token holds on.
      if (error instanceof Problem) return this.#send(errorFrame('unavailable', error.message, { ref }));
      if (!(error instanceof TokenError)) throw error;
      this.#send(errorFrame('invalid_token', `${error.message}.`, { ref }));
      return this.#close(closeReasonOf(error));
    }
    this.#send(tokenFrame(admission.expires, ref));
    admission.leaveForbidden(this.#connection);
  }

  #send(frame: Buffer): void {
    this.#context.postroom.send(this.#connection, frame);
  }

  #close(reason: CloseReason): void {
    this.#context.postroom.close(this.#connection, reason);
  }

  #forget(code: number): void {
    this.#context.postroom.disconnect(this.#connection, code === ABNORMAL_CLOSURE ? 'lost' : 'client');
    this.#context.timers.remove(this);
    this.#admission.end();
  }
}

/** A connection failed with an error of ours: closes it. */
export function failed(context: SessionContext, socket: WsSocket, error: unknown): void {
  context.log.error({ err: error }, 'a connection failed and was closed');
  socket.close('internal');
}
