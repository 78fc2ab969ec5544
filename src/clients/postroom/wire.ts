import { Sender } from 'ws';
import type { Member, MemberList, MembersChange, StartPoint, Wire } from '../../core/connection.js';
import type { Id } from '../../model/id.js';
import type { FrameErrorCode, Ref } from './client-frames.js';

/** Our protocol: text frames with one JSON object each (docs/protocol.md). */
export const PROTOCOL = 'postroom.v1';

/** Sends the data as it was posted, and never parses it. */
export const wire: Wire = {
  protocol: PROTOCOL,
  notification({ id, notification }, room) {
    const { event, data, from, ack } = notification;
    const roomMember = room === undefined ? '' : `,"room":${JSON.stringify(room)}`;
    const fromMember = from === undefined ? '' : `,"from":${from}`;
    const ackMember = ack === undefined ? '' : ',"ack":true';
    return textFrame(
      `{"type":"notification","id":"${id}"${roomMember}${fromMember}${ackMember},"event":${JSON.stringify(event)},"data":${data}}`,
    );
  },
  subscribed: (room, start, members) => subscribedFrame(room, start, members),
  unsubscribed: room => unsubscribedFrame(room),
  members(room, change) {
    const name = JSON.stringify(room);
    if (change.type === 'members')
      return listFrame(`{"type":"members","room":${name},"members":`, change.list);
    return textFrame(changeJson(name, change));
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

/** @param members who is in the room, if it is a presence room */
export function subscribedFrame(
  room: string,
  start: StartPoint,
  members: MemberList | undefined,
  ref?: Ref,
): Buffer {
  const json = JSON.stringify({ type: 'subscribed', room, ...start, ref });
  if (members === undefined) return textFrame(json);
  return listFrame(`${json.slice(0, -1)},"members":`, members);
}

export function unsubscribedFrame(room: string, ref?: Ref): Buffer {
  return jsonFrame({ type: 'unsubscribed', room, ref });
}

/** @param expires seconds since the epoch */
export function tokenFrame(expires: number | undefined, ref?: Ref): Buffer {
  return jsonFrame({ type: 'token', expires, ref });
}

export function publishedFrame(id: Id, ref: Ref): Buffer {
  return jsonFrame({ type: 'published', ref, id });
}

/** @param data JSON text */
export function resultFrame(data: string, ref: Ref): Buffer {
  return textFrame(`${JSON.stringify({ type: 'result', ref }).slice(0, -1)},"data":${data}}`);
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

/** @param room as JSON */
function changeJson(room: string, change: Exclude<MembersChange, { type: 'members' }>): string {
  switch (change.type) {
    case 'joined':
    case 'changed':
      return `{"type":"${change.type}","room":${room},${memberJson(change.member).slice(1)}`;
    case 'left':
      return `{"type":"left","room":${room},"user":${JSON.stringify(change.user)}}`;
    case 'count':
      return `{"type":"members","room":${room},"count":${change.count}}`;
  }
}

/** Lists as JSON, without the last bracket. Many connections get the same list, which may be a megabyte. */
const lists = new WeakMap<readonly Member[], Buffer>();

/** A frame of an object whose last member is a list. Its bytes are copied once. */
function listFrame(beginning: string, { told, self }: MemberList): Buffer {
  let list = lists.get(told);
  if (list === undefined) {
    list = Buffer.from(`[${told.map(memberJson).join()}`);
    lists.set(told, list);
  }
  const end = self === undefined ? ']}' : `${told.length > 0 ? ',' : ''}${memberJson(self)}]}`;
  const parts = [Buffer.from(beginning), list, Buffer.from(end)];
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([header(OPCODE_TEXT, length), ...parts]);
}

function memberJson({ user, info = 'null' }: Member): string {
  return `{"user":${JSON.stringify(user)},"info":${info}}`;
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

/** The header of one unfragmented frame with a payload of so many bytes (RFC 6455 §5.2). */
function header(opcode: number, length: number): Buffer {
  const first = 0x80 | opcode;
  if (length < 126) return Buffer.from([first, length]);
  const bytes = Buffer.alloc(length < 2 ** 16 ? 4 : 10);
  bytes[0] = first;
  bytes[1] = length < 2 ** 16 ? 126 : 127;
  bytes.writeUIntBE(length, bytes.length === 4 ? 2 : 4, bytes.length === 4 ? 2 : 6);
  return bytes;
}

/** One unfragmented frame. Frames of a server are never masked (RFC 6455 §5.1). */
function frame(opcode: number, payload: Buffer): Buffer {
  return Buffer.concat(
    Sender.frame(payload, { fin: true, rsv1: false, opcode, mask: false, readOnly: true }),
  );
}
