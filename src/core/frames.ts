import type { Entry } from '../model/notification.js';
import type { Wire } from './connection.js';

const MAX_BYTES = 4 * 1024 * 1024;

/** The frames of an entry that came through one room, by wire; nearly always one. */
type Forms = { readonly wire: Wire; readonly bytes: Buffer }[];

/** Each wire form of an entry encoded once, for as long as the cache has room: the last few megabytes of frames. */
export class Frames {
  readonly #frames = new Map<Entry, Map<string | undefined, Forms>>();
  #bytes = 0;

  /** The frame of an entry that came through `room`; the same Buffer object for the same three. */
  of(entry: Entry, room: string | undefined, wire: Wire): Buffer {
    const forms = this.#formsOf(entry, room);
    const found = forms.find(form => form.wire === wire);
    if (found !== undefined) return found.bytes;
    const bytes = wire.notification(entry, room);
    forms.push({ wire, bytes });
    this.#bytes += bytes.length;
    if (this.#bytes > MAX_BYTES) this.#clear();
    return bytes;
  }

  #formsOf(entry: Entry, room: string | undefined): Forms {
    let rooms = this.#frames.get(entry);
    if (rooms === undefined) {
      rooms = new Map();
      this.#frames.set(entry, rooms);
    }
    let forms = rooms.get(room);
    if (forms === undefined) {
      forms = [];
      rooms.set(room, forms);
    }
    return forms;
  }

  #clear(): void {
    this.#frames.clear();
    this.#bytes = 0;
  }
}
