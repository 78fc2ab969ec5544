import type { Cluster } from '../../cluster/cluster.js';
import type { After, Clock } from '../../model/clock.js';
import type { Connection } from '../connection.js';
import type { Observer } from '../observer.js';
import { Tracker } from './tracker.js';

// In all, not for each user.
const MAX_LEAVING = 100_000;
// Everybody in a room counts as one.
const ANYBODY = '';

/** Which rooms somebody is in, on all nodes. */
export class Occupancy implements Observer {
  readonly tracker: Tracker;

  constructor(parts: {
    cluster: Cluster;
    graceMs: number;
    clock: Clock;
    after: After;
    failed: (error: unknown) => void;
  }) {
    this.tracker = new Tracker({ name: 'occupancy', maxLeaving: MAX_LEAVING, ...parts });
    this.tracker.watch(room => this.tracker.members.forget(room));
  }

  joined(_connection: Connection, room: string): void {
    this.tracker.join(ANYBODY, undefined, room);
  }

  left(_connection: Connection, room: string): void {
    this.tracker.leave(ANYBODY, room);
  }
}
