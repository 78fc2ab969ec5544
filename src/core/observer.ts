import type { EndReason } from '../model/close.js';
import type { Connection } from './connection.js';

/**
 * Watches the connections of this process. Its methods are called at once, in the order of events, and must not throw.
 * A connection that ends leaves its rooms first. An observer has only the methods that it needs.
 */
export interface Observer {
  opened?(connection: Connection): void;
  closed?(connection: Connection, reason: EndReason): void;
  /** Its user was set, or the user's `info` has changed. `before` is the user that it had. */
  identified?(connection: Connection, before: string | undefined): void;
  joined?(connection: Connection, room: string): void;
  left?(connection: Connection, room: string): void;
}
