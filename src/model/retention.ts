/** How much past can be replayed: what is older, or more than fits, is trimmed, oldest first. */
export interface Retention {
  readonly seconds: number;
  readonly bytes: number;
}
