import { ownCopy } from '../model/text.js';

const MAX_CHARACTERS = 300;
const MAX_KEPT = 1000;

/** The texts of `User-Agent` headers. Most clients send the same few: these take memory once. */
export class UserAgents {
  readonly #kept = new Map<string, string>();

  /** The text to keep for a header: the same text for the same header, and not longer than 300 characters. */
  of(header: string | undefined): string | undefined {
    if (header === undefined) return undefined;
    // A part of a longer text would keep all of it in memory.
    const text = header.length > MAX_CHARACTERS ? ownCopy(header.slice(0, MAX_CHARACTERS)) : header;
    const kept = this.#kept.get(text);
    if (kept !== undefined) return kept;
    if (this.#kept.size === MAX_KEPT) this.#kept.clear();
    this.#kept.set(text, text);
    return text;
  }
}
