import { type Address, connectionAddress, roomAddress, roomOf, userAddress } from '../model/address.js';
import type { Id } from '../model/id.js';
import { FirstNames, type Page, type PageRequest } from '../model/page.js';
import { inTurns } from '../model/turns.js';
import type { Coalescer } from './coalescer.js';
import type { Connection } from './connection.js';
import type { Hub } from './hub.js';
import type { Presence } from './presence/presence.js';
import type { Window } from './window.js';

// A page has no more items when they have so many characters in JSON: some milliseconds for each node.
const MAX_PAGE = 256 * 1024;
/** The most rooms of one user that are listed. */
export const MAX_ROOMS = 1000;

/** The connections in a room on this node, and their users. */
export interface RoomReport {
  readonly connections: number;
  readonly users: number;
  /** The users, if they were asked for: a user may be on several nodes. */
  readonly names?: string[] | undefined;
}

/** A user in a room on this node. */
export interface MemberReport {
  readonly info?: string | undefined;
  /** When the last connection came, in milliseconds since the epoch. */
  readonly at: number;
  readonly node: string;
  readonly connections: number;
}

export interface UserReport {
  readonly connections: number;
  /** In order, at most 1,000. */
  readonly rooms: readonly string[];
}

/** A connection, for operators. */
export interface ConnectionReport {
  readonly connection: string;
  readonly user: string | null;
  readonly rooms: readonly string[];
  readonly protocol: string;
  readonly address: string;
  readonly userAgent: string | null;
  /** RFC 3339, in UTC. */
  readonly openedAt: string;
  /** Whether it gets entries as they come, or is served from the past at its own pace. */
  readonly state: 'live' | 'reading';
  /** Bytes written to it that the kernel has not taken. */
  readonly waitingBytes: number;
  readonly node: string;
}

/** What is on this node: rooms, users and connections. Lists come in order, and cost no long turn of the event loop. */
export class Inventory {
  readonly #node: string;
  readonly #hub: Hub;
  readonly #presence: Presence;
  readonly #window: Window;
  readonly #coalescer: Coalescer;

  constructor(parts: {
    node: string;
    hub: Hub;
    presence: Presence;
    window: Window;
    coalescer: Coalescer;
  }) {
    this.#node = parts.node;
    this.#hub = parts.hub;
    this.#presence = parts.presence;
    this.#window = parts.window;
    this.#coalescer = parts.coalescer;
  }

  /** The cursor now: everything that follows is newer. */
  get cursor(): Id {
    return this.#window.cursorAt(this.#window.end);
  }

  /** The id of the newest retained notification to a room. */
  newestOf(room: string): Id | undefined {
    const positions = this.#window.positionsOf(roomAddress(room));
    const last = positions?.at(positions.end - 1);
    return last === undefined ? undefined : this.#window.entryAt(last)?.id;
  }

  /**
   * Rooms that somebody is in. A page ends early if its users are too many bytes.
   * @param withNames whether the names of the users are asked for
   */
  rooms(prefix: string, request: PageRequest, withNames: boolean): Promise<Page<RoomReport>> {
    return pageOf(request, async ({ after = '', limit }) => {
      const names = await this.#hub.roomNames.first(prefix, after, limit + 1);
      const found = await this.#roomReports(names.slice(0, limit), withNames);
      return { names, found, more: names.length > found.length };
    });
  }

  /** The room, also if nobody is in it. */
  async room(room: string, withNames: boolean): Promise<RoomReport> {
    const [report] = await this.#roomReports([room], withNames);
    return report ?? { connections: 0, users: 0 };
  }

  /** Reports room by room, until the page is full. A room that nobody is in has no report. */
  async #roomReports(rooms: readonly string[], withNames: boolean): Promise<(RoomReport | undefined)[]> {
    const hub = this.#hub;
    const reports: (RoomReport | undefined)[] = [];
    let connections = 0;
    let users = new Set<string>();
    function* listeners() {
      let length = 0;
      for (const room of rooms) {
        yield* hub.listeners(roomAddress(room));
        const names = withNames ? [...users] : undefined;
        reports.push(connections === 0 ? undefined : { connections, users: users.size, names });
        length += names?.reduce((sum, name) => sum + name.length, 0) ?? 0;
        if (length > MAX_PAGE) return;
        connections = 0;
        users = new Set();
      }
    }
    await inTurns(listeners(), ({ user }) => {
      connections++;
      if (user !== undefined) users.add(user);
    });
    return reports;
  }

  /** The users in a room. Members of a presence room are listed as long as the others see them. */
  async members(room: string, request: PageRequest): Promise<Page<MemberReport>> {
    const node = this.#node;
    const first = new FirstNames<MemberReport>(request);
    if (this.#presence.covers(room))
      await inTurns(this.#presence.ownMembers(room), member =>
        first.add(member.user, () => ({ ...this.#presence.reportOf(member), node })),
      );
    else
      await inTurns(this.#hub.listeners(roomAddress(room)), ({ user, info, openedAt }) => {
        if (user === undefined) return;
        first.add(user, before => ({
          ...(before === undefined || openedAt >= before.at ? { info, at: openedAt } : before),
          node,
          connections: (before?.connections ?? 0) + 1,
        }));
      });
    const { items, more } = first.page;
    return cut(
      items.map(([user]) => user),
      items.map(([, report]) => report),
      more,
    );
  }

  async user(user: string): Promise<UserReport> {
    const first = new FirstNames<true>({ limit: MAX_ROOMS });
    const hub = this.#hub;
    function* rooms() {
      for (const { joined } of hub.listeners(userAddress(user))) yield* joined.keys();
    }
    await inTurns(this.#roomsIn(rooms()), room => first.add(room, () => true));
    return { connections: hub.count(userAddress(user)), rooms: first.page.items.map(([room]) => room) };
  }

  /** How many connections each of these users has. */
  connectionsOf(users: readonly string[]): number[] {
    return users.map(user => this.#hub.count(userAddress(user)));
  }

  /** The connections, by id. They are in all the given rooms, and of the given user. */
  connections(
    { room, user }: { room?: string | undefined; user?: string | undefined },
    request: PageRequest,
  ): Promise<Page<ConnectionReport>> {
    return pageOf(request, async part => {
      const { ids, more } = await this.#connectionIds(room, user, part);
      const found: (ConnectionReport | undefined)[] = [];
      await inTurns(ids, id => void found.push(this.connection(id)));
      return { names: ids, found, more };
    });
  }

  connection(id: string): ConnectionReport | undefined {
    const [connection] = this.#hub.listeners(connectionAddress(id));
    return connection && this.#report(connection);
  }

  async #connectionIds(room: string | undefined, user: string | undefined, request: PageRequest) {
    const { after = '', limit } = request;
    if (room === undefined && user === undefined) {
      const ids = await this.#hub.connectionIds.first('', after, limit + 1);
      return { ids: ids.slice(0, limit), more: ids.length > limit };
    }
    const first = new FirstNames<true>(request);
    const address = room === undefined ? undefined : roomAddress(room);
    const listeners = this.#hub.listeners(user === undefined ? roomAddress(room ?? '') : userAddress(user));
    await inTurns(listeners, ({ id, joined }) => {
      if (address === undefined || joined.has(address)) first.add(id, () => true);
    });
    const { items, more } = first.page;
    return { ids: items.map(([id]) => id), more };
  }

  *#roomsIn(addresses: Iterable<Address>): Iterable<string> {
    for (const address of addresses) {
      const room = roomOf(address);
      if (room !== undefined) yield room;
    }
  }

  #report(connection: Connection): ConnectionReport {
    const { id, user, wire, peer, openedAt, reading } = connection;
    return {
      connection: id,
      user: user ?? null,
      rooms: connection.rooms,
      protocol: wire.protocol,
      address: peer.address,
      userAgent: peer.userAgent ?? null,
      openedAt: new Date(openedAt).toISOString(),
      state: reading === undefined ? 'live' : 'reading',
      waitingBytes: this.#coalescer.waiting(connection),
      node: this.#node,
    };
  }
}

/** What there was at these names, and what is found there now. */
interface Part<T> {
  readonly names: readonly string[];
  readonly found: readonly (T | undefined)[];
  readonly more: boolean;
}

/** A page with at least one item, if the list goes on: all of a part may be gone before it is reported. */
async function pageOf<T>(
  { after, limit }: PageRequest,
  partOf: (request: PageRequest) => Promise<Part<T>>,
): Promise<Page<T>> {
  for (let from = after; ; ) {
    const { names, found, more } = await partOf({ after: from, limit });
    const page = cut(names, found, more);
    if (page.items.length > 0 || !more) return page;
    from = names[found.length - 1];
  }
}

/** A page of the items that there still are, and that are not too many bytes. */
function cut<T>(names: readonly string[], all: readonly (T | undefined)[], more: boolean): Page<T> {
  const items: [string, T][] = [];
  let length = 0;
  for (const [index, item] of all.entries()) {
    const name = names[index];
    if (name === undefined || item === undefined) continue;
    length += JSON.stringify(item).length;
    if (length > MAX_PAGE && items.length > 0) return { items, more: true };
    items.push([name, item]);
  }
  return { items, more };
}
