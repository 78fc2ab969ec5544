import type { Entry } from '../model/notification.js';
import type { Wire } from './connection.js';

const MAX_BYTES = 4 * 1024 * 1024;

/** The frames of an entry that came through one room, by wire. There is nearly always only one. */
type Forms = { readonly wire: Wire; readonly bytes: Buffer }[];

/** A cache of frames, up to a few megabytes: while they fit, each wire encodes an entry only once. */
export class Frames {
  readonly #frames = new Map<Entry, Map<string | undefined, Forms>>();
  #bytes = 0;

  /** The frame of an entry that came through `room`. While it is cached, it is the same Buffer object. */
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
