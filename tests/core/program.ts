import type { Connection, Socket } from '../../src/core/connection.js';
import { Postroom } from '../../src/core/postroom.js';
import type { CloseReason } from '../../src/model/close.js';
import { MemoryJournal } from '../../src/journal/memory.js';
import {
  type Address,
  connectionAddress,
  BROADCAST,
  roomAddress,
  userAddress,
} from '../../src/model/address.js';
import { clockOf } from '../support/clock.js';
import { PEER, PLAIN, wireOf } from '../support/core.js';
import { localCluster } from '../support/cluster.js';

function rethrow(error: unknown): never {
  throw error;
}

/** One step of a random program. Slots are connections by number. If a slot is empty, the step does nothing. */
export type Step =
  | {
      do: 'publish';
      rooms: readonly string[];
      users: readonly string[];
      slots: readonly number[];
      everyone: boolean;
      except: readonly number[];
      ttl: number | undefined;
      collapse?: string | undefined;
    }
  | { do: 'connect'; slot: number; rooms: readonly string[]; user: string | undefined; since: Since }
  | { do: 'join'; slot: number; room: string; since: Since }
  | { do: 'leave'; slot: number; room: string }
  | { do: 'identify'; slot: number; user: string }
  | { do: 'stall'; slot: number }
  | { do: 'take'; slot: number; writes: number }
  | { do: 'flow'; slot: number }
  | { do: 'hang up'; slot: number }
  | { do: 'wait'; seconds: number }
  | { do: 'turn' };

/** The cursor that a client brings: none, a notification's (counted back from the newest), its own, or nonsense. */
export type Since = undefined | number | 'own' | 'start' | 'future' | 'garbage';

/** Something that a connection got, in order. A mark stands for a control frame. */
type Got = { kind: 'notification'; index: number; room: string | undefined } | { kind: 'mark'; mark: number };

/** Why a connection must get an entry: through which address, and whether it must come even if its ttl is over. */
interface Claim {
  readonly address: Address;
  readonly live: boolean;
  /** The mark at which it began, and the mark at which the room was left. */
  readonly since: number;
  until: number | undefined;
}

interface Joining {
  readonly mark: number;
  readonly room: string;
  /** Entries before this index were past at the time of the request. */
  readonly now: number;
  /** Entries from this index on were requested; undefined: only new ones. */
  readonly from: number | undefined;
  /** The index after the cursor that the client got. */
  readonly cursor: number;
}

interface Published {
  readonly id: string;
  readonly addresses: readonly Address[];
  readonly except: readonly string[];
  readonly expires: number;
  readonly collapse: string | undefined;
  /** A newer one has taken its place. */
  isCollapsed: boolean;
}

const START = 1_000_000;
const FRAME_PADDING = 'x'.repeat(20);

/** A socket whose far end reads only when the program says so. */
class FakeSocket implements Socket {
  waiting = 0;
  stalled = false;
  closed: CloseReason | undefined;
  /** The most bytes of notifications that ever waited. */
  worst = 0;
  readonly text: string[] = [];
  readonly #queue: { bytes: number; notifications: number; taken: (() => void) | undefined }[] = [];

  write(bytes: Buffer, taken?: () => void): void {
    if (this.closed !== undefined) throw new Error('written to after it was closed');
    const text = String(bytes);
    this.text.push(text);
    const notifications = text
      .split('\n')
      .filter(line => line.startsWith('n'))
      .reduce((sum, line) => sum + line.length + 1, 0);
    this.waiting += bytes.length;
    this.#queue.push({ bytes: bytes.length, notifications, taken });
    if (!this.stalled) this.take(this.#queue.length);
    else
      this.worst = Math.max(
        this.worst,
        this.#queue.reduce((sum, item) => sum + item.notifications, 0),
      );
  }

  close(reason: CloseReason): void {
    this.closed = reason;
  }

  /** The far end reads so many writes. As in a real socket, `taken` is called later. */
  take(writes: number): void {
    for (const { bytes, taken } of this.#queue.splice(0, writes)) {
      this.waiting -= bytes;
      if (taken !== undefined) process.nextTick(taken);
    }
  }

  flow(): void {
    this.stalled = false;
    this.take(this.#queue.length);
  }
}

const wire = wireOf('test', ({ id }, room) => Buffer.from(`n ${id} ${room ?? '-'} ${FRAME_PADDING}\n`));

/** One connection, with everything that the contract promises it. */
class Client {
  readonly socket = new FakeSocket();
  readonly connection: Connection;
  readonly claims = new Map<number, Claim[]>();
  readonly joinings: Joining[] = [];
  readonly rooms = new Set<string>();
  user: string | undefined;
  marks = 0;
  /** So many quiet turns with an empty socket must pass before the requested past is surely sent. */
  pastUnderWay = 0;

  constructor(connect: (socket: FakeSocket) => Connection) {
    this.connection = connect(this.socket);
  }

  get open(): boolean {
    return this.socket.closed === undefined;
  }

  addresses(): Address[] {
    const own: Address[] = [BROADCAST, connectionAddress(this.connection.id)];
    if (this.user !== undefined) own.push(userAddress(this.user));
    return [...own, ...[...this.rooms].map(roomAddress)];
  }

  claim(index: number, address: Address, live: boolean): void {
    const claims = this.claims.get(index) ?? [];
    claims.push({ address, live, since: this.marks - 1, until: undefined });
    this.claims.set(index, claims);
  }

  drop(address: Address): void {
    for (const claims of this.claims.values())
      for (const claim of claims) if (claim.address === address) claim.until ??= this.marks - 1;
  }
}

/** Runs a program against a Postroom and a model side by side. Throws if they differ. */
export class Program {
  readonly #postroom: Postroom;
  readonly #maxBufferedBytes: number;
  readonly #published: Published[] = [];
  readonly #indexes = new Map<string, number>();
  readonly #slots: (Client | undefined)[] = [];
  readonly #clients: Client[] = [];
  #now = START;
  /** Connections that fell out of the past. */
  fellBehind = 0;

  constructor(options: { maxBufferedBytes: number; retentionBytes: number }) {
    const now = () => this.#now;
    const retention = { seconds: 1000, bytes: options.retentionBytes };
    this.#maxBufferedBytes = options.maxBufferedBytes;
    const journal = new MemoryJournal(retention, clockOf(now));
    this.#postroom = new Postroom({
      journal,
      cluster: localCluster(),
      retention,
      maxBufferedBytes: options.maxBufferedBytes,
      isShared: false,
      ...PLAIN,
      failed: rethrow,
    });
  }

  async run(steps: readonly Step[]): Promise<void> {
    await this.#postroom.start();
    try {
      for (const step of steps) {
        await this.#step(step);
        this.#notice();
      }
      for (const client of this.#clients) if (client.open) client.socket.flow();
      await this.#settle();
      this.#notice();
      for (const client of this.#clients) this.#judge(client);
      this.#hangUpAll();
    } finally {
      await this.#postroom.stop();
    }
  }

  async #step(step: Step): Promise<void> {
    if (step.do === 'publish') return this.#publish(step);
    if (step.do === 'turn') return this.#turn();
    if (step.do === 'wait') {
      this.#now += step.seconds * 1000;
      return;
    }
    const client = this.#slots[step.slot];
    if (step.do === 'connect') {
      if (client !== undefined) this.#hangUp(client);
      this.#slots[step.slot] = this.#connect(step, client);
      return;
    }
    if (client?.open !== true) return;
    switch (step.do) {
      case 'join':
        return this.#join(client, step);
      case 'leave':
        this.#postroom.unsubscribe(client.connection, step.room);
        this.#mark(client);
        client.rooms.delete(step.room);
        client.drop(roomAddress(step.room));
        return;
      case 'identify':
        if (client.user !== undefined) return;
        this.#postroom.identify(client.connection, step.user);
        client.user = step.user;
        return;
      case 'stall':
        client.socket.stalled = true;
        return;
      case 'take':
        return client.socket.take(step.writes);
      case 'flow':
        return client.socket.flow();
      case 'hang up':
        return this.#hangUp(client);
    }
  }

  async #publish(step: Extract<Step, { do: 'publish' }>): Promise<void> {
    const idOf = (slot: number) => this.#slots[slot]?.connection.id ?? '1.1';
    const addresses: Address[] = [
      ...step.rooms.map(roomAddress),
      ...step.users.map(userAddress),
      ...step.slots.map(slot => connectionAddress(idOf(slot))),
      ...(step.everyone ? [BROADCAST as Address] : []),
    ];
    if (addresses.length === 0) return;
    const except = step.except.map(idOf);
    const { ttl, collapse } = step;
    const notification = { addresses, event: 'e', data: 'null', except, key: undefined, ttl, collapse };
    const receipt = await this.#postroom.publish(notification);
    const index = this.#published.length;
    const expires = step.ttl === undefined ? Number.POSITIVE_INFINITY : this.#now + step.ttl * 1000;
    const isSame = (other: Published) =>
      other.collapse === collapse &&
      other.addresses.length === addresses.length &&
      other.addresses.every(address => addresses.includes(address));
    if (collapse !== undefined)
      for (const other of this.#published) if (isSame(other)) other.isCollapsed = true;
    this.#published.push({ id: receipt.id, addresses, except, expires, collapse, isCollapsed: false });
    this.#indexes.set(receipt.id, index);
    const reached = this.#clients.filter(client => {
      if (!client.open || except.includes(client.connection.id)) return false;
      const through = client.addresses().filter(address => addresses.includes(address));
      for (const address of through) client.claim(index, address, true);
      return through.length > 0;
    });
    expectEqual(receipt.connections, reached.length, `connections reached by #${index}`);
  }

  #connect(step: Extract<Step, { do: 'connect' }>, before: Client | undefined): Client {
    const since = this.#cursor(step.since, before);
    const { rooms, user } = step;
    let cursor = 0;
    let from: number | undefined;
    const client = new Client(socket => {
      const { connection, start } = this.#postroom.connect(socket, wire, { rooms, user, since, peer: PEER });
      from = this.#checkRecovered(since, start.recovered);
      cursor = this.#after(start.id);
      expectEqual(cursor, from ?? this.#published.length, 'cursor told at connect');
      return connection;
    });
    this.#clients.push(client);
    client.user = user;
    for (const room of rooms) client.rooms.add(room);
    const mark = this.#mark(client);
    for (const room of rooms) client.joinings.push({ mark, room, now: this.#published.length, from, cursor });
    if (from !== undefined) this.#claimPast(client, from, client.addresses());
    return client;
  }

  #join(client: Client, step: Extract<Step, { do: 'join' }>): void {
    const since = this.#cursor(step.since, client);
    const { id, recovered } = this.#postroom.subscribe(client.connection, step.room, since);
    const from = this.#checkRecovered(since, recovered);
    const mark = this.#mark(client);
    client.rooms.add(step.room);
    client.joinings.push({
      mark,
      room: step.room,
      now: this.#published.length,
      from,
      cursor: this.#after(id),
    });
    if (from !== undefined) this.#claimPast(client, from, [roomAddress(step.room)]);
  }

  async #turn(): Promise<void> {
    const before = this.#clients.map(({ socket }) => socket.text.length);
    await turn();
    for (const [index, client] of this.#clients.entries())
      if (client.socket.waiting === 0 && client.socket.text.length === before[index])
        client.pastUnderWay = Math.max(0, client.pastUnderWay - 1);
  }

  #claimPast(client: Client, from: number, addresses: readonly Address[]): void {
    client.pastUnderWay = 3;
    this.#published.slice(from).forEach((published, offset) => {
      if (published.isCollapsed || published.expires <= this.#now) return;
      if (published.except.includes(client.connection.id)) return;
      for (const address of addresses)
        if (published.addresses.includes(address)) client.claim(from + offset, address, false);
    });
  }

  /** Where the requested past begins; undefined if it is not available. */
  #checkRecovered(since: string | undefined, recovered: boolean | undefined): number | undefined {
    const from = since === undefined ? undefined : this.#after(since);
    const retained = this.#published.length - this.#postroom.stats.journal.entries;
    const known = from !== undefined && !Number.isNaN(from) && from >= retained;
    expectEqual(recovered, since === undefined ? undefined : known, `recovered for since=${since}`);
    return known ? from : undefined;
  }

  /** The index after an id; NaN for an id that was never given. */
  #after(id: string): number {
    return id === `${START}-0` ? 0 : (this.#indexes.get(id) ?? Number.NaN) + 1;
  }

  #cursor(since: Since, client: Client | undefined): string | undefined {
    if (since === undefined) return undefined;
    if (since === 'future') return `${START * 1000}-0`;
    if (since === 'garbage') return 'yesterday';
    if (since === 'start') return `${START}-0`;
    if (since !== 'own') return this.#published.at(-1 - since)?.id ?? `${START}-0`;
    const seen =
      client === undefined
        ? []
        : this.#received(client).flatMap(got => (got.kind === 'mark' ? [] : [got.index]));
    return this.#published[Math.max(...seen)]?.id ?? `${START}-0`;
  }

  #mark(client: Client): number {
    this.#postroom.send(client.connection, Buffer.from(`m ${client.marks}\n`));
    return client.marks++;
  }

  #received(client: Client): Got[] {
    const lines = client.socket.text.join('').split('\n').slice(0, -1);
    return lines.map(line => {
      const [kind, value = '', room = ''] = line.split(' ');
      if (kind === 'm') return { kind: 'mark', mark: Number(value) };
      const index = this.#indexes.get(value);
      if (index === undefined) throw new Error(`received ${line}, which was never published`);
      return { kind: 'notification', index, room: room === '-' ? undefined : room };
    });
  }

  /** Notes connections that the core closed. It may close only those that fell out of the past. */
  #notice(): void {
    for (const client of this.#clients) {
      if (client.socket.closed !== 'fell_behind' || !this.#slots.includes(client)) continue;
      this.#slots[this.#slots.indexOf(client)] = undefined;
      this.fellBehind++;
      const trimmed = this.#published.length - this.#postroom.stats.journal.entries;
      const got = new Set(this.#received(client).map(item => (item.kind === 'mark' ? -1 : item.index)));
      const lost = [...client.claims.keys()].some(index => index < trimmed && !got.has(index));
      // While its past is sent, the connection also stops at entries for others: that may cost it its place.
      if (!lost && client.pastUnderWay === 0)
        throw new Error('closed as fallen behind, but nothing that it was owed had been trimmed');
    }
  }

  #judge(client: Client): void {
    const received = this.#received(client);
    const largest = wire.notification({ id: '1000000000-1000' } as never, 'a').length;
    if (client.socket.worst > Math.max(this.#maxBufferedBytes, largest))
      throw new Error(`${client.socket.worst} bytes waited for one connection`);
    const got = new Set<number>();
    let mark = -1;
    let newest = -1;
    const recent: { index: number; mark: number }[] = [];
    const newestOfRoom = new Map<string, number>();
    for (const item of received) {
      if (item.kind === 'mark') {
        expectEqual(item.mark, mark + 1, 'control frames in order');
        mark = item.mark;
        for (const joining of client.joinings)
          if (joining.mark === mark && joining.from !== undefined) newestOfRoom.delete(joining.room);
        continue;
      }
      const { index, room } = item;
      const what = `#${index} through ${room}`;
      if (got.has(index)) throw new Error(`${what} came twice`);
      got.add(index);
      this.#judgeClaim(client, index, room, mark, what);
      const joined = client.joinings.filter(joining => joining.room === room && joining.mark <= mark);
      const isPast = joined.some(({ now, from }) => from !== undefined && from <= index && index < now);
      if (index < newest && !isPast) throw new Error(`${what} came after #${newest}`);
      newest = Math.max(newest, index);
      if (room !== undefined) {
        if (index < (newestOfRoom.get(room) ?? -1))
          throw new Error(`${what} came after a later one of its room`);
        newestOfRoom.set(room, index);
        const last = joined.at(-1);
        if (last?.from !== undefined && index < last.now) {
          const live = recent.find(other => other.mark >= last.mark && other.index >= last.now);
          if (live !== undefined)
            throw new Error(`${what}, the past, came after #${live.index}, which was new`);
        }
      }
      for (const joining of client.joinings)
        if (joining.mark <= mark && index < joining.cursor && !isPast)
          throw new Error(`${what} came although the cursor #${joining.cursor} had been told`);
      recent.push({ index, mark });
    }
    if (!client.open) return;
    expectEqual(mark, client.marks - 1, 'all control frames came');
    for (const [index, claims] of client.claims) {
      // Only those that it could still get: a newer one has taken the place of the others.
      if (got.has(index) || this.#published[index]?.isCollapsed) continue;
      const expired = (this.#published[index]?.expires ?? 0) <= this.#now;
      const owed = claims.find(claim => claim.until === undefined && (claim.live || !expired));
      if (owed !== undefined) throw new Error(`#${index} through ${owed.address} was lost`);
    }
  }

  #judgeClaim(client: Client, index: number, room: string | undefined, mark: number, what: string): void {
    const valid = client.claims
      .get(index)
      ?.some(
        ({ address, since, until }) =>
          (room === undefined ? !address.startsWith('room:') : address === roomAddress(room)) &&
          since <= mark &&
          (until === undefined || mark < until),
      );
    if (!valid) throw new Error(`${what} came after mark ${mark} but was not owed`);
  }

  #hangUp(client: Client): void {
    if (!client.open) return;
    this.#postroom.close(client.connection, 'shutting_down');
    this.#judge(client);
  }

  #hangUpAll(): void {
    for (const client of this.#clients) this.#hangUp(client);
    const { connections, users, rooms } = this.#postroom.stats;
    expectEqual(
      JSON.stringify({ connections, users, rooms }),
      '{"connections":0,"users":0,"rooms":0}',
      'what is left',
    );
  }

  /** Until nothing moves any more. */
  async #settle(): Promise<void> {
    for (let idle = 0, before = -1; idle < 3; ) {
      await turn();
      const now = this.#clients.reduce((sum, client) => sum + client.socket.text.join('').length, 0);
      idle = now === before ? idle + 1 : 0;
      before = now;
    }
  }
}

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}

function expectEqual(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected) throw new Error(`${what}: ${String(actual)} instead of ${String(expected)}`);
}
