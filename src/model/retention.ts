/** How much past can be replayed. Entries that are older, or too many, are trimmed, oldest first. */
export interface Retention {
  readonly seconds: number;
  readonly bytes: number;
}
