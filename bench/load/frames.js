/**
 * Finds the frames in a server's bytes (RFC 6455 §5.2): jumps from header to header and does not look at the payload,
 * except for the one letter that tells a `{"type":"notification"` from a `{"type":"subscribed"`.
 */
const TEXT = 0x1;
const CLOSE = 0x8;
const PING = 0x9;
const KIND_AT = '{"type":"'.length;
const NOTIFICATION = 'n'.charCodeAt(0);
const SUBSCRIBED = 's'.charCodeAt(0);

/** The kinds of frames that a reader finds. It skips `other` frames. */
export const Kind = { other: 0, notification: 1, subscribed: 2, ping: 3, close: 4 };

/** Bytes that must be free before a chunk, for the beginning of a frame that the last chunk broke off. */
export const HEADROOM = 10 + KIND_AT + 1;

export class FrameReader {
  #found;
  #broken = null; // the beginning of a frame, still too short to read
  #missing = 0; // payload bytes of the current frame that are still to come
  #current = Kind.other;
  /** Whole frames of all kinds that were read. */
  frames = 0;

  /** `found(kind)` is called for every whole frame except notifications, which `read` counts. */
  constructor(found) {
    this.#found = found;
  }

  /** Reads `bytes` from `start` to `end` and returns how many notifications ended there. */
  read(bytes, start, end) {
    if (this.#missing > end - start) {
      this.#missing -= end - start;
      return 0;
    }
    let notifications = 0;
    let at = start;
    if (this.#missing > 0) {
      at += this.#missing;
      this.#missing = 0;
      notifications += this.#finish(this.#current);
    } else if (this.#broken) {
      at -= this.#broken.length;
      bytes.set(this.#broken, at);
      this.#broken = null;
    }
    while (at < end) {
      const payload = at + headerLength(bytes, at, end);
      const length = payload > end ? 0 : payloadLength(bytes, at);
      if (payload + Math.min(length, KIND_AT + 1) > end) {
        this.#broken = Buffer.from(bytes.subarray(at, end)); // a copy: `bytes` will be read into again
        break;
      }
      const kind = kindOf(bytes, at, payload, length);
      at = payload + length;
      if (at > end) {
        this.#missing = at - end;
        this.#current = kind;
        break;
      }
      notifications += this.#finish(kind);
    }
    return notifications;
  }

  #finish(kind) {
    this.frames++;
    if (kind === Kind.notification) return 1;
    if (kind !== Kind.other) this.#found(kind);
    return 0;
  }
}

/** Length of the header at `at`; more than there is if the header is broken off. */
function headerLength(bytes, at, end) {
  if (at + 2 > end) return 2;
  const short = bytes[at + 1];
  if (short < 126) return 2;
  return short === 126 ? 4 : 10;
}

function payloadLength(bytes, at) {
  const short = bytes[at + 1];
  if (short < 126) return short;
  if (short === 126) return (bytes[at + 2] << 8) | bytes[at + 3];
  return bytes.readUInt32BE(at + 6); // no server here sends frames of 4 GiB
}

function kindOf(bytes, at, payload, length) {
  const opcode = bytes[at] & 0x0f;
  if (opcode === TEXT) {
    if (length <= KIND_AT) return Kind.other;
    const letter = bytes[payload + KIND_AT];
    if (letter === NOTIFICATION) return Kind.notification;
    return letter === SUBSCRIBED ? Kind.subscribed : Kind.other;
  }
  if (opcode === PING) return Kind.ping;
  return opcode === CLOSE ? Kind.close : Kind.other;
}
