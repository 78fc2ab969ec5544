import { Sender } from 'ws';
import { z } from 'zod';
import type { Encoder } from '../core/connection.js';
import type { Start } from '../core/postroom.js';

/** Our protocol, `postroom.v1`: text frames of one JSON object each (docs/protocol.md). */

/** What a client may send. */
export type ClientFrame = z.output<typeof ClientFrame>;
/** Client's own mark, given back in the answer. */
export type Ref = string | number | undefined;

/** Codes of `error` frames. */
export type FrameErrorCode =
  | 'invalid_json'
  | 'unknown_type'
  | 'invalid_frame'
  | 'invalid_room'
  | 'invalid_token'
  | 'unknown_parameter'
  | 'too_many_rooms'
  | 'forbidden';

/** A client frame that cannot be taken. */
export class FrameError extends Error {
  readonly code: FrameErrorCode;
  readonly ref: Ref;

  constructor(code: FrameErrorCode, message: string, ref?: Ref) {
    super(message);
    this.name = 'FrameError';
    this.code = code;
    this.ref = ref;
  }
}

const Ref = z.union([z.string(), z.number()], 'must be a string or a number').optional();
const Text = z.string({ error: ({ input }) => (input === undefined ? 'is missing' : 'must be a string') });
const ClientFrame = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.literal('subscribe'), room: Text, since: Text.optional(), ref: Ref }),
    z.object({ type: z.literal('unsubscribe'), room: Text, ref: Ref }),
    z.object({ type: z.literal('token'), token: Text, ref: Ref }),
    z.object({ type: z.literal('ping'), ref: Ref }),
  ],
  { error: 'must be a JSON object' },
);
const TYPES = 'subscribe, unsubscribe, token, ping';

/** Reads a client's text frame. Throws a FrameError that tells what to change. */
export function parseClientFrame(text: string): ClientFrame {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new FrameError('invalid_json', 'The frame is not valid JSON.');
  }
  const frame = ClientFrame.safeParse(value);
  if (frame.success) return frame.data;
  const ref = z.object({ ref: Ref }).safeParse(value).data?.ref;
  const issue = frame.error.issues[0];
  if (issue?.code === 'invalid_union' && issue.path[0] === 'type')
    throw new FrameError('unknown_type', `The types are ${TYPES}.`, ref);
  throw new FrameError('invalid_frame', `${issue?.path.join('.') || 'The frame'} ${issue?.message}.`, ref);
}

/** Our wire form. The data goes out as it was posted, never parsed. */
export const encoder: Encoder = {
  notification({ id, notification }, room) {
    const through = room === undefined ? '' : `,"room":${JSON.stringify(room)}`;
    return textFrame(
      `{"type":"notification","id":"${id}"${through},"event":${JSON.stringify(notification.event)},"data":${notification.data}}`,
    );
  },
};

export function welcomeFrame(
  connection: string,
  user: string | undefined,
  start: Start,
  ping: number,
): Buffer {
  return jsonFrame({ type: 'welcome', connection, user: user ?? null, ...start, ping });
}

export function subscribedFrame(room: string, start: Start, ref?: Ref): Buffer {
  return jsonFrame({ type: 'subscribed', room, ...start, ref });
}

export function unsubscribedFrame(room: string, ref?: Ref): Buffer {
  return jsonFrame({ type: 'unsubscribed', room, ref });
}

/** @param expires seconds since the epoch */
export function tokenFrame(expires: number | undefined, ref?: Ref): Buffer {
  return jsonFrame({ type: 'token', expires, ref });
}

export function pongFrame(ref?: Ref): Buffer {
  return jsonFrame({ type: 'pong', ref });
}

export function errorFrame(
  code: FrameErrorCode,
  message: string,
  about: { room?: string; ref?: Ref } = {},
): Buffer {
  return jsonFrame({ type: 'error', code, message, ...about });
}

const OPCODE_TEXT = 1;
const OPCODE_PING = 9;

/** A WebSocket ping without payload (RFC 6455 §5.5.2), the same bytes for everybody. */
export const PING_FRAME = frame(OPCODE_PING, Buffer.alloc(0));

function jsonFrame(value: object): Buffer {
  return textFrame(JSON.stringify(value));
}

function textFrame(text: string): Buffer {
  return frame(OPCODE_TEXT, Buffer.from(text));
}

/** One unfragmented frame of the server's, which is never masked (RFC 6455 §5.1). */
function frame(opcode: number, payload: Buffer): Buffer {
  return Buffer.concat(
    Sender.frame(payload, { fin: true, rsv1: false, opcode, mask: false, readOnly: true }),
  );
}
