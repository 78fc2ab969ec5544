import type { Entry } from '../model/notification.js';
import type { Encoder } from './connection.js';

const MAX_BYTES = 4 * 1024 * 1024;

interface Frame {
  readonly encoder: Encoder;
  readonly room: string | undefined;
  readonly bytes: Buffer;
}

/** Each wire form of an entry encoded once, for as long as the cache has room: the last few megabytes of frames. */
export class Frames {
  readonly #frames = new Map<Entry, Frame[]>();
  #bytes = 0;

  /** The frame of an entry that came through `room`; the same Buffer object for the same three. */
  of(entry: Entry, room: string | undefined, encoder: Encoder): Buffer {
    const known = this.#frames.get(entry);
    const found = known?.find(frame => frame.encoder === encoder && frame.room === room);
    if (found !== undefined) return found.bytes;
    const bytes = encoder.notification(entry, room);
    if (this.#bytes > MAX_BYTES) this.#clear();
    this.#bytes += bytes.length;
    if (known === undefined) this.#frames.set(entry, [{ encoder, room, bytes }]);
    else known.push({ encoder, room, bytes });
    return bytes;
  }

  #clear(): void {
    this.#frames.clear();
    this.#bytes = 0;
  }
}
