import type { Cluster } from '../../cluster/cluster.js';
import type { After, Clock } from '../../model/clock.js';
import { Heap } from '../../model/heap.js';
import { TURN_MS } from '../../model/turns.js';
import { type Holder, Members, type RoomMember } from './members.js';
import { Replication } from './replication.js';

/** A user's presence on this node. */
interface OwnHolder extends Holder {
  connections: number;
  /** When the last connection left, in milliseconds of `elapsed`. */
  leftAt: number;
  /** Whether the end of the grace is watched. */
  isLeaving: boolean;
}

interface Leaving {
  readonly member: RoomMember;
  /** In milliseconds of `elapsed`. */
  readonly dueAt: number;
}

/**
 * Knows who is in which room, on all nodes. Somebody comes to a room with the first connection there, and leaves a time
 * of grace after the last one, on whichever nodes they are.
 */
export class Tracker {
  readonly members: Members;
  readonly #node: string;
  readonly #graceMs: number;
  readonly #maxLeaving: number;
  readonly #clock: Clock;
  readonly #after: After;
  readonly #replication: Replication;
  readonly #watchers: ((member: RoomMember) => void)[] = [];
  /** Members whose last connection on this node has left, those first whose grace ends first. */
  readonly #leaving = new Heap<Leaving>((a, b) => a.dueAt < b.dueAt);
  /** How many of them each user has. */
  readonly #leavingOf = new Map<string, number>();
  #isWatching = false;

  constructor(parts: {
    name: 'presence' | 'occupancy';
    cluster: Cluster;
    /** Who is back within this time has never left. */
    graceMs: number;
    /** A user who leaves more rooms within the grace leaves the others at once: one must not fill the memory. */
    maxLeaving: number;
    clock: Clock;
    after: After;
    failed: (error: unknown) => void;
  }) {
    const { name, cluster, graceMs, clock, after, failed } = parts;
    this.#node = cluster.node;
    this.#graceMs = graceMs;
    this.#maxLeaving = parts.maxLeaving;
    this.#clock = clock;
    this.#after = after;
    this.members = new Members(member => {
      for (const watcher of this.#watchers) watcher(member);
    });
    const elapsed = () => clock.elapsed();
    this.#replication = new Replication({
      name,
      cluster,
      members: this.members,
      graceMs,
      elapsed,
      after,
      failed,
    });
  }

  /** Changes with each change of this node's own members. Other nodes see by it what they have missed. */
  get version(): number {
    return this.#replication.version;
  }

  start(): void {
    this.#replication.start();
  }

  stop(): void {
    this.#replication.stop();
  }

  /** Calls `watcher` when a member came, left, or has another `info`, on any node. */
  watch(watcher: (member: RoomMember) => void): void {
    this.#watchers.push(watcher);
  }

  /** What this node has of a member. */
  own(member: RoomMember | undefined): (Holder & { readonly connections: number }) | undefined {
    return this.#own(member);
  }

  /** A connection of a user came to a room. */
  join(user: string, info: string | undefined, room: string): void {
    const before = this.#own(this.members.member(room, user));
    const own: OwnHolder = {
      node: this.#node,
      info,
      at: this.#clock.now(),
      mark: 0,
      connections: (before?.connections ?? 0) + 1,
      leftAt: 0,
      isLeaving: before?.isLeaving ?? false,
    };
    // Told also if only `at` has changed: all nodes must choose the same `info`.
    this.#replication.changed(this.members.put(room, user, own));
  }

  /** A connection of a user left a room. */
  leave(user: string, room: string): void {
    const member = this.members.member(room, user);
    const own = this.#own(member);
    if (member === undefined || own === undefined || --own.connections > 0) return;
    own.leftAt = this.#clock.elapsed();
    if (this.#graceMs === 0) return this.#remove(member);
    if (own.isLeaving) return;
    if (this.#leavingOf.get(user) === this.#maxLeaving) return this.#remove(member);
    own.isLeaving = true;
    this.#watchLeaving(member, own.leftAt + this.#graceMs);
    this.#watch();
  }

  #own(member: RoomMember | undefined): OwnHolder | undefined {
    return member?.holderOf(this.#node) as OwnHolder | undefined;
  }

  /** Removes members when their grace is over. One timer serves all. */
  #watch(): void {
    const next = this.#leaving.first;
    if (this.#isWatching || next === undefined) return;
    this.#isWatching = true;
    this.#after(Math.max(0, next.dueAt - this.#clock.elapsed()), () => {
      this.#isWatching = false;
      this.#removeLeft();
      this.#watch();
    });
  }

  #removeLeft(): void {
    const now = this.#clock.elapsed();
    const end = performance.now() + TURN_MS;
    for (
      let next = this.#leaving.first;
      next !== undefined && next.dueAt <= now;
      next = this.#leaving.first
    ) {
      if (performance.now() > end) return;
      this.#leaving.pop();
      const { member } = next;
      this.#noMoreLeaving(member.user);
      const own = this.#own(member);
      if (own === undefined) continue;
      const dueAt = own.leftAt + this.#graceMs;
      own.isLeaving = own.connections === 0 && dueAt > now;
      if (own.isLeaving) this.#watchLeaving(member, dueAt);
      else if (own.connections === 0) this.#remove(member);
    }
  }

  #watchLeaving(member: RoomMember, dueAt: number): void {
    this.#leavingOf.set(member.user, (this.#leavingOf.get(member.user) ?? 0) + 1);
    this.#leaving.push({ member, dueAt });
  }

  #noMoreLeaving(user: string): void {
    const left = (this.#leavingOf.get(user) ?? 0) - 1;
    if (left > 0) this.#leavingOf.set(user, left);
    else this.#leavingOf.delete(user);
  }

  #remove(member: RoomMember): void {
    this.members.remove(member.room.name, member.user, this.#node);
    this.#replication.changed(member);
  }
}
