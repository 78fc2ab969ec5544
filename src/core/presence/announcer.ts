import { roomAddress } from '../../model/address.js';
import type { After } from '../../model/clock.js';
import { Turns } from '../../model/turns.js';
import type { Coalescer } from '../coalescer.js';
import type { Connection, Member, MemberList, MembersChange, Wire } from '../connection.js';
import type { Hub } from '../hub.js';
import { ChangeFrames } from './change-frames.js';
import type { Members, Room, RoomMember } from './members.js';

// Changes of a busy room are told together: so a connection gets one write for them, not one for each.
const NAMES_MS = 50;
const COUNT_MS = 2000;
// A room that is told by its count is told by names again below this part of the limit.
const BY_NAMES_AGAIN = 0.75;
// Those who joined are told of so many changes one by one. Each needs bytes of its own, because nobody hears of himself.
const FEW_CHANGES = 16;
const NOBODY: readonly Member[] = [];
const NO_USERS: ReadonlySet<string> = new Set();

/** What the members of a room have been told. */
interface Told {
  /** Members to be told of. */
  readonly changed: Set<RoomMember>;
  /** Whether the room has too many members to tell them by name. */
  isByCount: boolean;
  /** What users were told of themselves before the others were told of them: each `info` by member. */
  readonly selves: Map<RoomMember, Set<string | undefined>>;
  /** The members as they were told; undefined until somebody asks. */
  list: readonly Member[] | undefined;
  /** The count as it was told. */
  count: number;
  /** When the members were told last, in milliseconds of `elapsed`. */
  at: number;
  isScheduled: boolean;
}

/**
 * Tells the members of presence rooms who came and who left: the connections of this node that have a user. A quiet
 * room is told at once, a busy one at most every 50 ms, a room with too many members only its count every 2 s. A
 * connection that does not keep up gets the whole list when it has room again.
 */
export class Announcer {
  readonly #members: Members;
  readonly #hub: Hub;
  readonly #coalescer: Coalescer;
  readonly #maxMembers: number;
  readonly #elapsed: () => number;
  readonly #after: After;
  readonly #rooms = new Map<Room, Told>();
  readonly #due = new Turns<Room>(room => this.#tell(room));
  /** Connections that have room for whole lists again. */
  readonly #taken = new Turns<Connection>(connection => this.#tellUntold(connection));

  constructor(parts: {
    members: Members;
    hub: Hub;
    coalescer: Coalescer;
    /** Rooms with more members are told by their count. */
    maxMembers: number;
    elapsed: () => number;
    after: After;
  }) {
    this.#members = parts.members;
    this.#hub = parts.hub;
    this.#coalescer = parts.coalescer;
    this.#maxMembers = parts.maxMembers;
    this.#elapsed = parts.elapsed;
    this.#after = parts.after;
  }

  /** Call this when a member came, left, or has another `info`. */
  changed(member: RoomMember): void {
    const told = this.#toldOf(member.room);
    told.changed.add(member);
    this.#schedule(member.room, told);
  }

  /**
   * The members for a connection that has joined a room now, or undefined: then the connection is told them when there
   * is room for them, or their count. Later changes come after it.
   */
  listFor(connection: Connection, name: string): MemberList | undefined {
    const room = this.#members.room(name);
    if (room === undefined) return { told: NOBODY, self: undefined };
    if (!this.#toldOf(room).isByCount && this.#coalescer.hasRoom(connection, 0))
      return this.#listFor(connection, room);
    this.tellLater(connection, name);
    return undefined;
  }

  /** The connection will get all members of a room anew, when there is room for them. */
  tellLater(connection: Connection, name: string): void {
    connection.untold ??= new Set();
    connection.untold.add(name);
    this.#coalescer.awaitTaken(connection);
  }

  /** Call this when a socket has taken everything. */
  taken(connection: Connection): void {
    if (connection.untold !== undefined) this.#taken.push(connection);
  }

  #tellUntold(connection: Connection): void {
    if (connection.closed) return;
    for (const name of connection.untold ?? []) {
      if (!this.#tellAll(connection, name)) return this.#coalescer.awaitTaken(connection);
      connection.untold?.delete(name);
    }
    connection.untold = undefined;
  }

  /** Returns false if there is no room for it. */
  #tellAll(connection: Connection, name: string): boolean {
    const room = this.#members.room(name);
    if (room === undefined || !connection.joined.has(roomAddress(name))) return true;
    // Before the list is encoded, which may be a megabyte.
    if (!this.#coalescer.hasRoom(connection, 1)) return false;
    const told = this.#toldOf(room);
    const change: MembersChange = told.isByCount
      ? { type: 'count', count: told.count }
      : { type: 'members', list: this.#listFor(connection, room) };
    const frame = connection.wire.members(name, change);
    if (!this.#coalescer.hasRoom(connection, frame.length)) return false;
    this.#coalescer.send(connection, frame);
    return true;
  }

  #listFor(connection: Connection, room: Room): MemberList {
    const told = this.#toldOf(room);
    told.list ??= [...room.members.values()].flatMap(member => member.told ?? []);
    const self = connection.user === undefined ? undefined : room.members.get(connection.user);
    if (self === undefined || self.told !== undefined) return { told: told.list, self: undefined };
    const { user, info } = self;
    told.selves.set(self, (told.selves.get(self) ?? new Set()).add(info));
    return { told: told.list, self: { user, info } };
  }

  #toldOf(room: Room): Told {
    let told = this.#rooms.get(room);
    if (told === undefined) {
      told = {
        changed: new Set(),
        selves: new Map(),
        isByCount: false,
        list: undefined,
        count: 0,
        at: Number.NEGATIVE_INFINITY,
        isScheduled: false,
      };
      this.#rooms.set(room, told);
    }
    return told;
  }

  #schedule(room: Room, told: Told): void {
    if (told.isScheduled) return;
    told.isScheduled = true;
    const wait = told.at + (told.isByCount ? COUNT_MS : NAMES_MS) - this.#elapsed();
    if (wait > 0) this.#after(wait, () => this.#due.push(room));
    else this.#due.push(room);
  }

  #tell(room: Room): void {
    const told = this.#toldOf(room);
    const changed = [...told.changed];
    told.changed.clear();
    told.isScheduled = false;
    told.at = this.#elapsed();
    if (told.isByCount) this.#tellByCount(room, told);
    else if (room.present > this.#maxMembers) this.#beginCount(room, told);
    else this.#tellNames(room, told, changed);
    told.selves.clear();
    for (const member of changed) this.#members.forget(member);
    if (room.members.size === 0) this.#rooms.delete(room);
  }

  #beginCount(room: Room, told: Told): void {
    told.isByCount = true;
    told.list = undefined;
    this.#tellByCount(room, told);
  }

  #tellByCount(room: Room, told: Told): void {
    if (room.present < this.#maxMembers * BY_NAMES_AGAIN) return this.#beginNames(room, told);
    if (room.present === told.count) return;
    told.count = room.present;
    this.#send(room, [{ type: 'count', count: room.present }]);
  }

  #beginNames(room: Room, told: Told): void {
    told.isByCount = false;
    told.count = 0;
    for (const member of room.members.values()) member.told = toldOf(member);
    told.list = [...room.members.values()].flatMap(member => member.told ?? []);
    this.#send(room, [{ type: 'members', list: { told: told.list, self: undefined } }]);
  }

  #tellNames(room: Room, told: Told, changed: readonly RoomMember[]): void {
    const changes = changed.flatMap(member => changeOf(member) ?? []);
    if (changes.length === 0) return;
    for (const member of changed) member.told = toldOf(member);
    told.list = undefined;
    const renewed = [...told.selves].filter(([{ info }, infos]) => infos.size > 1 || !infos.has(info));
    this.#send(room, changes, new Set(renewed.map(([{ user }]) => user)));
  }

  /**
   * Sends all changes in one piece: the same bytes to all connections, except to those that joined just now.
   * @param renewed users who joined just now, and have another `info` than they were told
   */
  #send(room: Room, changes: readonly MembersChange[], renewed: ReadonlySet<string> = NO_USERS): void {
    const joined = new Map<string, number>();
    for (const [index, change] of changes.entries())
      if (change.type === 'joined') joined.set(change.member.user, index);
    const byWire = new Map<Wire, ChangeFrames>();
    const lists = new Map<Wire, Buffer>();
    for (const connection of this.#hub.listeners(roomAddress(room.name))) {
      const { user, wire } = connection;
      if (user === undefined || connection.untold?.has(room.name)) continue;
      let frames = byWire.get(wire);
      if (frames === undefined) {
        frames = new ChangeFrames(wire, room.name, changes);
        byWire.set(wire, frames);
      }
      const own = joined.get(user);
      let pieces = [frames.all];
      if (own !== undefined && changes.length > FEW_CHANGES) pieces = [this.#wholeList(room, wire, lists)];
      else if (own !== undefined) pieces = frames.without(own, renewed.has(user));
      if (!this.#coalescer.hasRoom(connection, frames.all.length)) this.tellLater(connection, room.name);
      else for (const piece of pieces) this.#coalescer.send(connection, piece);
    }
  }

  /** The whole list as a frame: the same bytes for all connections of a protocol. */
  #wholeList(room: Room, wire: Wire, frames: Map<Wire, Buffer>): Buffer {
    let frame = frames.get(wire);
    if (frame === undefined) {
      const told = [...room.members.values()].flatMap(member => member.told ?? []);
      frame = wire.members(room.name, { type: 'members', list: { told, self: undefined } });
      frames.set(wire, frame);
    }
    return frame;
  }
}

function toldOf(member: RoomMember): Member | undefined {
  return member.isPresent ? { user: member.user, info: member.info } : undefined;
}

/** What the others must be told of a member; undefined if nothing has changed since they were told. */
function changeOf(member: RoomMember): MembersChange | undefined {
  const now = toldOf(member);
  const { told, user } = member;
  if (now === undefined) return told && { type: 'left', user };
  if (told === undefined) return { type: 'joined', member: now };
  return told.info === now.info ? undefined : { type: 'changed', member: now };
}
