import { inTurns } from '../../model/turns.js';
import type { Member } from '../connection.js';

/** A user's presence in a room on one node. */
export interface Holder {
  readonly node: string;
  info: string | undefined;
  /** When the user's last connection came, in milliseconds since the epoch: its `info` holds. */
  at: number;
  /** Number of the last complete list of the node that had it, or of one that is on its way. */
  mark: number;
}

/** A user in a room, on any nodes. */
export class RoomMember {
  readonly room: Room;
  readonly user: string;
  /** The nodes where the user is. There is nearly always only one. */
  readonly holders: Holder[] = [];
  /** The member as the members of this node know it; undefined if they do not. */
  told: Member | undefined;

  constructor(room: Room, user: string) {
    this.room = room;
    this.user = user;
  }

  get isPresent(): boolean {
    return this.holders.length > 0;
  }

  /** The `info` of the connection that came last. All nodes choose the same. */
  get info(): string | undefined {
    let last = this.holders[0];
    for (const holder of this.holders) if (last === undefined || isLater(holder, last)) last = holder;
    return last?.info;
  }

  holderOf(node: string): Holder | undefined {
    return this.holders.find(holder => holder.node === node);
  }
}

function isLater(a: Holder, b: Holder): boolean {
  return a.at === b.at ? a.node > b.node : a.at > b.at;
}

/** A presence room that has members, or whose members must still be told that one has left. */
export class Room {
  readonly name: string;
  readonly members = new Map<string, RoomMember>();
  /** How many members are present. */
  present = 0;

  constructor(name: string) {
    this.name = name;
  }
}

/** Who is in which presence room, on all nodes. */
export class Members {
  readonly #rooms = new Map<string, Room>();
  readonly #changed: (member: RoomMember) => void;

  /** @param changed called when a member came, left, or has another `info` */
  constructor(changed: (member: RoomMember) => void) {
    this.#changed = changed;
  }

  room(name: string): Room | undefined {
    return this.#rooms.get(name);
  }

  member(room: string, user: string): RoomMember | undefined {
    return this.#rooms.get(room)?.members.get(user);
  }

  /** A user is in a room on a node. Returns the member. */
  put(room: string, user: string, holder: Holder): RoomMember {
    const member = this.#memberOf(room, user);
    const { isPresent: wasPresent, info } = member;
    const index = member.holders.findIndex(({ node }) => node === holder.node);
    if (index < 0) member.holders.push(holder);
    else member.holders[index] = holder;
    if (!wasPresent) member.room.present++;
    if (!wasPresent || member.info !== info) this.#changed(member);
    return member;
  }

  /** A user is no longer in a room on a node. */
  remove(room: string, user: string, node: string): void {
    const member = this.member(room, user);
    const index = member?.holders.findIndex(holder => holder.node === node) ?? -1;
    if (member === undefined || index < 0) return;
    const { info } = member;
    member.holders.splice(index, 1);
    if (!member.isPresent) member.room.present--;
    if (!member.isPresent || member.info !== info) this.#changed(member);
  }

  /** Removes everybody of a node whose mark is older, in as many turns of the event loop as needed. */
  async removeOlder(node: string, mark: number): Promise<void> {
    await inTurns(this.all(), ({ room, user, holders }) => {
      const isOlder = holders.some(holder => holder.node === node && holder.mark < mark);
      if (isOlder) this.remove(room.name, user, node);
    });
  }

  /** All members of all rooms, also while they change. */
  *all(): Iterable<RoomMember> {
    for (const { members } of this.#rooms.values()) yield* members.values();
  }

  /** Forgets a member that is gone, when everybody has been told. */
  forget(member: RoomMember): void {
    const { room, user } = member;
    if (member.isPresent || room.members.get(user) !== member) return;
    room.members.delete(user);
    if (room.members.size === 0) this.#rooms.delete(room.name);
  }

  #memberOf(name: string, user: string): RoomMember {
    let room = this.#rooms.get(name);
    if (room === undefined) {
      room = new Room(name);
      this.#rooms.set(name, room);
    }
    let member = room.members.get(user);
    if (member === undefined) {
      member = new RoomMember(room, user);
      room.members.set(user, member);
    }
    return member;
  }
}
