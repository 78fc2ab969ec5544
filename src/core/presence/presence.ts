import type { Cluster } from '../../cluster/cluster.js';
import type { After, Clock } from '../../model/clock.js';
import { Heap } from '../../model/heap.js';
import type { Patterns } from '../../model/pattern.js';
import { TURN_MS } from '../../model/turns.js';
import type { Coalescer } from '../coalescer.js';
import type { Connection, MemberList } from '../connection.js';
import type { Hub } from '../hub.js';
import type { Observer } from '../observer.js';
import { Announcer } from './announcer.js';
import { type Holder, Members, type RoomMember } from './members.js';
import { Replication } from './replication.js';

// A user who leaves more rooms within the grace leaves the others at once: one must not fill the memory with them.
const MAX_LEAVING = 1000;

export interface PresenceSettings {
  /** Rooms whose members see each other. */
  readonly rooms: Patterns;
  /** A user who is back within this time has never left. */
  readonly graceMs: number;
  /** Members of a room with more members are told their count only. */
  readonly maxMembers: number;
}

/** A user's presence on this node. */
interface OwnHolder extends Holder {
  connections: number;
  /** When the last connection left, in milliseconds of `elapsed`. */
  leftAt: number;
  /** Whether the end of the grace is watched. */
  isLeaving: boolean;
}

const NOT_HERE: OwnReport = { at: 0, connections: 0 };

interface Leaving {
  readonly member: RoomMember;
  /** In milliseconds of `elapsed`. */
  readonly dueAt: number;
}

/** A member of a room, as far as this node has it. */
export interface OwnReport {
  readonly info?: string | undefined;
  /** When the last connection came, in milliseconds since the epoch. */
  readonly at: number;
  /** Open connections in the room. 0 in the time of grace. */
  readonly connections: number;
}

/**
 * Who is in the presence rooms. A user becomes a member of a room with the first connection there and leaves with the
 * last one, on whichever nodes they are.
 */
export class Presence implements Observer {
  readonly #settings: PresenceSettings;
  readonly #node: string;
  readonly #clock: Clock;
  readonly #after: After;
  readonly #members: Members;
  readonly #announcer: Announcer;
  readonly #replication: Replication;
  /** Members whose last connection on this node has left, those first whose grace ends first. */
  readonly #leaving = new Heap<Leaving>((a, b) => a.dueAt < b.dueAt);
  /** How many of them each user has. */
  readonly #leavingOf = new Map<string, number>();
  #isWatching = false;

  constructor(parts: {
    settings: PresenceSettings;
    cluster: Cluster;
    hub: Hub;
    coalescer: Coalescer;
    clock: Clock;
    after: After;
    failed: (error: unknown) => void;
  }) {
    const { settings, cluster, hub, coalescer, clock, after, failed } = parts;
    this.#settings = settings;
    this.#node = cluster.node;
    this.#clock = clock;
    this.#after = after;
    this.#members = new Members(member => this.#announcer.changed(member));
    const elapsed = () => clock.elapsed();
    this.#announcer = new Announcer({
      members: this.#members,
      hub,
      coalescer,
      maxMembers: settings.maxMembers,
      elapsed,
      after,
    });
    const { graceMs } = settings;
    this.#replication = new Replication({ cluster, members: this.#members, graceMs, elapsed, after, failed });
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

  /** Whether members of this room see each other. */
  covers(room: string): boolean {
    return this.#settings.rooms.match(room);
  }

  /**
   * The members of a room for a connection that has joined it now. Undefined if it will get them later or never: the
   * room is no presence room or has too many members, the connection has no user or too many unread bytes.
   */
  listFor(connection: Connection, room: string): MemberList | undefined {
    if (connection.user === undefined || !this.covers(room)) return undefined;
    return this.#announcer.listFor(connection, room);
  }

  /** The members that this node has in a presence room, in no order. */
  *ownMembers(room: string): Iterable<RoomMember> {
    for (const member of this.#members.room(room)?.members.values() ?? [])
      if (this.#own(member) !== undefined) yield member;
  }

  /** What this node has of a member. */
  reportOf(member: RoomMember): OwnReport {
    const { info, at, connections } = this.#own(member) ?? NOT_HERE;
    return { info, at, connections };
  }

  /** The members of a presence room on all nodes, as this node knows them. */
  *membersOf(room: string): Iterable<{ user: string; info: string | undefined }> {
    for (const member of this.#members.room(room)?.members.values() ?? [])
      if (member.isPresent) yield { user: member.user, info: member.info };
  }

  /** Call this when a socket has taken everything. */
  taken(connection: Connection): void {
    this.#announcer.taken(connection);
  }

  joined(connection: Connection, room: string): void {
    if (connection.user !== undefined && this.covers(room))
      this.#join(connection.user, connection.info, room);
  }

  left({ user }: Connection, room: string): void {
    if (user !== undefined && this.covers(room)) this.#leave(user, room);
  }

  identified(connection: Connection, before: string | undefined): void {
    const { user, info } = connection;
    if (user === undefined) return;
    for (const room of connection.rooms) {
      if (!this.covers(room)) continue;
      this.#join(user, info, room);
      if (before === undefined) this.#announcer.tellLater(connection, room);
      else this.#leave(user, room);
    }
  }

  #own(member: RoomMember | undefined): OwnHolder | undefined {
    return member?.holderOf(this.#node) as OwnHolder | undefined;
  }

  #join(user: string, info: string | undefined, room: string): void {
    const before = this.#own(this.#members.member(room, user));
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
    this.#replication.changed(this.#members.put(room, user, own));
  }

  #leave(user: string, room: string): void {
    const member = this.#members.member(room, user);
    const own = this.#own(member);
    if (member === undefined || own === undefined || --own.connections > 0) return;
    own.leftAt = this.#clock.elapsed();
    if (this.#settings.graceMs === 0) return this.#remove(member);
    if (own.isLeaving) return;
    if (this.#leavingOf.get(user) === MAX_LEAVING) return this.#remove(member);
    own.isLeaving = true;
    this.#watchLeaving(member, own.leftAt + this.#settings.graceMs);
    this.#watch();
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
      const dueAt = own.leftAt + this.#settings.graceMs;
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
    this.#members.remove(member.room.name, member.user, this.#node);
    this.#replication.changed(member);
  }
}
