import { Sender } from 'ws';
import type { StartPoint, Wire } from '../../core/connection.js';
import type { FrameErrorCode, Ref } from './client-frames.js';

/** Our protocol: text frames with one JSON object each (docs/protocol.md). */
export const PROTOCOL = 'postroom.v1';

/** Sends the data as it was posted, and never parses it. */
export const wire: Wire = {
  protocol: PROTOCOL,
  notification({ id, notification }, room) {
    const roomMember = room === undefined ? '' : `,"room":${JSON.stringify(room)}`;
    return textFrame(
      `{"type":"notification","id":"${id}"${roomMember},"event":${JSON.stringify(notification.event)},"data":${notification.data}}`,
    );
  },
};

export function welcomeFrame(
  connection: string,
  user: string | undefined,
  start: StartPoint,
  ping: number,
): Buffer {
  return jsonFrame({ type: 'welcome', connection, user: user ?? null, ...start, ping });
}

export function subscribedFrame(room: string, start: StartPoint, ref?: Ref): Buffer {
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

/** A WebSocket ping without payload (RFC 6455 §5.5.2), the same bytes for all connections. */
export const PING_FRAME = frame(OPCODE_PING, Buffer.alloc(0));

function jsonFrame(value: object): Buffer {
  return textFrame(JSON.stringify(value));
}

function textFrame(text: string): Buffer {
  return frame(OPCODE_TEXT, Buffer.from(text));
}

/** One unfragmented frame. Frames of a server are never masked (RFC 6455 §5.1). */
function frame(opcode: number, payload: Buffer): Buffer {
  return Buffer.concat(
    Sender.frame(payload, { fin: true, rsv1: false, opcode, mask: false, readOnly: true }),
  );
}
