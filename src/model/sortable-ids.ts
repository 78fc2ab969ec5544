const DIGITS = 15;
const SEQUENCE_DIGITS = 6;
const NODE_CHARACTERS = 8;

/** Milliseconds as a text that sorts by time. */
export function sortableTime(milliseconds: number): string {
  return String(milliseconds).padStart(DIGITS, '0');
}

/** Makes ids that sort by time. Those of one node increase, also if the clock is set back. */
export class SortableIds {
  readonly #node: string;
  #lastMs = 0;
  #sequence = 0;

  /** @param node its name makes the ids of several nodes differ */
  constructor(node: string) {
    this.#node = node.slice(0, NODE_CHARACTERS);
  }

  /** @param now milliseconds since the epoch */
  next(now: number): string {
    if (now > this.#lastMs) {
      this.#lastMs = now;
      this.#sequence = 0;
    } else this.#sequence++;
    const sequence = String(this.#sequence).padStart(SEQUENCE_DIGITS, '0');
    return `${sortableTime(this.#lastMs)}-${sequence}-${this.#node}`;
  }
}
