/**
 * How clients publish to the others in their room, and how they hear it: in our protocol, and in Socket.IO's (Engine.IO
 * 4 over WebSocket alone). Each message carries its number, so that a client need not understand the rest of the frame.
 */
import { frameOf } from './client.js';

/** Numbers have nine digits, which end so many bytes before the end of a frame. */
const FIRST = 100_000_000;
const DIGITS = 9;
const KIND_AT = '{"type":"'.length;

export const Kind = { other: 0, served: 1, heard: 2, answered: 3 };

const postroom = {
  path: ({ room, token }) => `/ws?room=${room}&token=${token}`,
  publish: (room, number) =>
    frameOf(
      `{"type":"publish","room":"${room}","event":"typing","data":{"at":${FIRST + number}},"ref":${number}}`,
    ),
  tail: '}}'.length,
  kindOf(_client, bytes, start, end) {
    const letter = String.fromCharCode(bytes[start + KIND_AT]);
    if (letter === 'n') return Kind.heard;
    if (letter === 'p') return Kind.answered;
    if (letter === 'e') throw new Error(`refused: ${bytes.toString('utf8', start, end)}`);
    return letter === 's' ? Kind.served : Kind.other;
  },
};

const socketIo = {
  path: ({ room }) => `/socket.io/?EIO=4&transport=websocket&room=${room}`,
  publish: (room, number) => frameOf(socketIoEvent(room, number, number)),
  tail: '}}]'.length,
  kindOf(client, bytes, start, end) {
    const type = bytes.toString('latin1', start, Math.min(start + 2, end));
    if (type === '42') return Kind.heard;
    if (type === '43') return Kind.answered;
    if (type === '40') return Kind.served;
    if (type[0] === '0') client.send(frameOf('40')); // open: now connect to the namespace
    if (type[0] === '2') client.send(frameOf('3')); // ping
    return Kind.other;
  },
};

export const DIALECTS = {
  postroom,
  'socket.io': socketIo,
  // As a typing indicator may be sent: nobody waits for an answer.
  'socket.io-unanswered': {
    ...socketIo,
    publish: (room, number) => frameOf(socketIoEvent(room, number, '')),
    unanswered: true,
  },
};

function socketIoEvent(room, number, id) {
  return `42${id}["publish","${room}","typing",{"at":${FIRST + number}}]`;
}

export function numberIn(bytes, end, tail) {
  let number = 0;
  for (let at = end - tail - DIGITS; at < end - tail; at++) number = number * 10 + bytes[at] - 48;
  return number - FIRST;
}
