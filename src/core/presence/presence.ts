import type { Cluster } from '../../cluster/cluster.js';
import type { After, Clock } from '../../model/clock.js';
import type { Patterns } from '../../model/pattern.js';
import type { Coalescer } from '../coalescer.js';
import type { Connection, MemberList } from '../connection.js';
import type { Hub } from '../hub.js';
import type { Observer } from '../observer.js';
import { Announcer } from './announcer.js';
import type { RoomMember } from './members.js';
import { Tracker } from './tracker.js';

const MAX_LEAVING = 1000;

export interface PresenceSettings {
  /** Rooms whose members see each other. */
  readonly rooms: Patterns;
  /** A user who is back within this time has never left. */
  readonly graceMs: number;
  /** Members of a room with more members are told their count only. */
  readonly maxMembers: number;
}

const NOT_HERE: OwnReport = { at: 0, connections: 0 };

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
  /** Who is there. */
  readonly tracker: Tracker;
  readonly #settings: PresenceSettings;
  readonly #announcer: Announcer;

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
    const { graceMs, maxMembers } = settings;
    this.#settings = settings;
    this.tracker = new Tracker({
      name: 'presence',
      cluster,
      graceMs,
      maxLeaving: MAX_LEAVING,
      clock,
      after,
      failed,
    });
    const elapsed = () => clock.elapsed();
    const { members } = this.tracker;
    this.#announcer = new Announcer({ members, hub, coalescer, maxMembers, elapsed, after });
    this.tracker.watch(member => this.#announcer.changed(member));
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
    for (const member of this.tracker.members.room(room)?.members.values() ?? [])
      if (this.tracker.own(member) !== undefined) yield member;
  }

  /** What this node has of a member. */
  reportOf(member: RoomMember): OwnReport {
    const { info, at, connections } = this.tracker.own(member) ?? NOT_HERE;
    return { info, at, connections };
  }

  /** The members of a presence room on all nodes, as this node knows them. */
  *membersOf(room: string): Iterable<{ user: string; info: string | undefined }> {
    for (const member of this.tracker.members.room(room)?.members.values() ?? [])
      if (member.isPresent) yield { user: member.user, info: member.info };
  }

  /** Call this when a socket has taken everything. */
  taken(connection: Connection): void {
    this.#announcer.taken(connection);
  }

  joined(connection: Connection, room: string): void {
    if (connection.user !== undefined && this.covers(room))
      this.tracker.join(connection.user, connection.info, room);
  }

  left({ user }: Connection, room: string): void {
    if (user !== undefined && this.covers(room)) this.tracker.leave(user, room);
  }

  identified(connection: Connection, before: string | undefined): void {
    const { user, info } = connection;
    if (user === undefined) return;
    for (const room of connection.rooms) {
      if (!this.covers(room)) continue;
      this.tracker.join(user, info, room);
      if (before === undefined) this.#announcer.tellLater(connection, room);
      else this.tracker.leave(user, room);
    }
  }
}
