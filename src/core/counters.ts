import type { EndReason } from '../model/close.js';
import type { Connection } from './connection.js';
import type { Observer } from './observer.js';

/** Numbers for operators, since the start. Parts of the core add to them; metrics read them. */
export class Counters implements Observer {
  /** Notifications accepted, without duplicates. */
  published = 0;
  /** Frames of notifications that were handed to connections. */
  deliveredFrames = 0;
  /** Bytes of all frames that were written to connections. */
  writtenBytes = 0;
  /** How often a live connection did not keep up. */
  fellBehind = 0;
  /** Open connections by protocol. */
  readonly open = new Map<string, number>();
  /** Connections that have ended, by reason. */
  readonly ended = new Map<EndReason, number>();

  opened({ wire }: Connection): void {
    add(this.open, wire.protocol, 1);
  }

  closed({ wire }: Connection, reason: EndReason): void {
    add(this.open, wire.protocol, -1);
    add(this.ended, reason, 1);
  }
}

function add<K>(counts: Map<K, number>, key: K, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count);
}
