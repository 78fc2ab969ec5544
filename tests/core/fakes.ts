import { afterEach } from '@jest/globals';
import type { Cluster } from '../../src/cluster/cluster.js';
import type {
  Connection,
  Member,
  MemberList,
  MembersChange,
  Socket,
  StartPoint,
  Wire,
} from '../../src/core/connection.js';
import type { Observer } from '../../src/core/observer.js';
import type { PresenceSettings } from '../../src/core/presence/presence.js';
import { Postroom, type Receipt } from '../../src/core/postroom.js';
import type { Follower } from '../../src/journal/journal.js';
import { MemoryJournal } from '../../src/journal/memory.js';
import { type Address, BROADCAST } from '../../src/model/address.js';
import type { After, Clock } from '../../src/model/clock.js';
import type { CloseReason } from '../../src/model/close.js';
import type { Id } from '../../src/model/id.js';
import type { Notification } from '../../src/model/notification.js';
import { clockOf } from '../support/clock.js';
import { PEER, PLAIN } from '../support/core.js';
import { localCluster } from '../support/cluster.js';

const START = 1_000_000;
const MANY_TURNS = 20_000;

/** The cursor of a client that wants all of the past. */
export const BEGINNING: Id = `${START}-0`;

const running: Postroom[] = [];
afterEach(async () => {
  for (const postroom of running.splice(0)) await postroom.stop();
});

/** Resolves when this turn of the event loop is over, and its writes are done. */
export function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}

/** Waits turn by turn until a condition holds. */
export async function until(isSo: () => boolean): Promise<void> {
  for (let turns = 0; !isSo(); turns++) {
    if (turns === MANY_TURNS) throw new Error(`not so after ${turns} turns: ${isSo}`);
    await turn();
  }
}

/** A socket whose far end reads only when the test says so. */
export class FakeSocket implements Socket {
  waiting = 0;
  writes = 0;
  text = '';
  /** The reason for each time that the core closed it. */
  readonly closings: CloseReason[] = [];
  #isStalled = false;
  readonly #queue: { bytes: number; taken: (() => void) | undefined }[] = [];

  write(bytes: Buffer, taken?: () => void): void {
    if (this.closings.length > 0) throw new Error('written to after it was closed');
    this.writes++;
    this.text += bytes;
    this.waiting += bytes.length;
    this.#queue.push({ bytes: bytes.length, taken });
    if (!this.#isStalled) this.take(this.#queue.length);
  }

  close(reason: CloseReason): void {
    this.closings.push(reason);
  }

  /** The far end reads nothing more. */
  stall(): void {
    this.#isStalled = true;
  }

  /** The far end reads so many writes. As in a real socket, `taken` is called later. */
  take(writes: number): void {
    for (const { bytes, taken } of this.#queue.splice(0, writes)) {
      this.waiting -= bytes;
      if (taken !== undefined) process.nextTick(taken);
    }
  }

  /** The far end reads everything again. */
  flow(): void {
    this.#isStalled = false;
    this.take(this.#queue.length);
  }
}

/** A protocol with lines as frames: the data, then the room that the entry came through. Counts what it encodes. */
export class FakeWire implements Wire {
  readonly protocol: string;
  readonly #prefix: string;
  encoded = 0;

  constructor(protocol = 'test', prefix = '') {
    this.protocol = protocol;
    this.#prefix = prefix;
  }

  notification({ notification: { data } }: { notification: Notification }, room: string | undefined): Buffer {
    this.encoded++;
    return Buffer.from(`${this.#prefix}${data}${room === undefined ? '' : ` ${room}`}\n`);
  }

  subscribed(room: string, _start: StartPoint, members: MemberList | undefined): Buffer {
    return Buffer.from(`+${room}${members === undefined ? '' : ` ${listText(members)}`}\n`);
  }

  unsubscribed(room: string): Buffer {
    return Buffer.from(`-${room}\n`);
  }

  /** `joined room user info`, `left room user`, `members room user info, …` or `count room number` */
  members(room: string, change: MembersChange): Buffer {
    const { type } = change;
    const text =
      type === 'left'
        ? change.user
        : type === 'count'
          ? change.count
          : type === 'members'
            ? listText(change.list)
            : memberText(change.member);
    return Buffer.from(`${type} ${room} ${text}\n`);
  }
}

function memberText({ user, info }: Member): string {
  return info === undefined ? user : `${user} ${info}`;
}

function listText({ told, self }: MemberList): string {
  return [...told, ...(self === undefined ? [] : [self])].map(memberText).join(', ');
}

/** A journal that can lose an entry, as a shared journal may. */
class LossyJournal extends MemoryJournal {
  #follower: Follower | undefined;
  #isLosing = false;

  override follow(follower: Follower): Promise<Id> {
    this.#follower = follower;
    return super.follow({ ...follower, deliver: entry => this.#isLosing || follower.deliver(entry) });
  }

  async lose(notification: Notification): Promise<Id> {
    this.#isLosing = true;
    const { id } = await this.append(notification);
    this.#isLosing = false;
    this.#follower?.skipped(id);
    return id;
  }
}

/** A connection with its far end. */
export interface Client {
  readonly connection: Connection;
  readonly socket: FakeSocket;
  readonly start: StartPoint;
  /** The frames that it got, one in each line. */
  frames(): string[];
}

interface Options {
  readonly retentionBytes?: number;
  readonly maxBufferedBytes?: number;
  readonly observers?: readonly Observer[];
  readonly cluster?: Cluster;
  readonly presence?: Partial<PresenceSettings>;
  readonly occupancy?: boolean;
  readonly clock?: Clock;
  readonly after?: After;
}

/** The core without a server, on a clock that stands still by itself. */
export class Core {
  now = START;
  readonly wire = new FakeWire();
  readonly postroom: Postroom;
  /** Errors of the core itself in serving a connection. */
  readonly failures: unknown[] = [];
  readonly #journal: LossyJournal;
  readonly #sockets: FakeSocket[] = [];

  constructor(options: Options) {
    const { retentionBytes = 1e9, maxBufferedBytes = 1e6, observers = [], presence } = options;
    const { cluster = localCluster(), clock = PLAIN.clock, after = PLAIN.after } = options;
    const retention = { seconds: 1000, bytes: retentionBytes };
    this.#journal = new LossyJournal(
      retention,
      clockOf(() => this.now),
    );
    this.postroom = new Postroom({
      journal: this.#journal,
      retention,
      maxBufferedBytes,
      isShared: false,
      cluster,
      clock,
      after,
      presence: { ...PLAIN.presence, ...presence },
      occupancy: options.occupancy,
      stores: PLAIN.stores,
      observers,
      failed: error => void this.failures.push(error),
    });
  }

  connect({
    user,
    info,
    rooms = [],
    since,
    wire = this.wire,
    socket = new FakeSocket(),
  }: {
    user?: string | undefined;
    info?: string | undefined;
    rooms?: readonly string[];
    since?: string | undefined;
    wire?: Wire;
    socket?: FakeSocket;
  } = {}): Client {
    this.#sockets.push(socket);
    const { connection, start } = this.postroom.connect(socket, wire, {
      user,
      info,
      peer: PEER,
      rooms,
      since,
    });
    return { connection, socket, start, frames: () => socket.text.split('\n').slice(0, -1) };
  }

  /** Entries that are delivered at once are delivered when this returns, not when it resolves. */
  publish(
    to: Address | readonly Address[],
    data: string,
    options: Partial<Pick<Notification, 'except' | 'ttl' | 'collapse'>> = {},
  ): Promise<Receipt> {
    return this.postroom.publish(notificationTo(to, data, options));
  }

  /** Publishes numbers, all in this turn. Returns their frames, as the room's connections get them. */
  publishNumbers(room: string, from: number, until: number): string[] {
    const numbers = Array.from({ length: until - from }, (_, index) => `${from + index}`);
    for (const number of numbers) void this.publish(`room:${room}`, number);
    return numbers.map(number => `${number} ${room}`);
  }

  /** The journal loses an entry, and reports it. Returns its id. */
  lose(): Promise<Id> {
    return this.#journal.lose(notificationTo(BROADCAST, 'lost'));
  }

  /** Waits until nothing is written any more. */
  async settle(): Promise<void> {
    const writes = () => this.#sockets.reduce((sum, socket) => sum + socket.writes, 0);
    for (let [quiet, before] = [0, writes()]; quiet < 3; ) {
      await turn();
      const now = writes();
      quiet = now === before ? quiet + 1 : 0;
      before = now;
    }
  }
}

function notificationTo(
  to: Address | readonly Address[],
  data: string,
  options: Partial<Notification> = {},
): Notification {
  const addresses = [to].flat();
  return { addresses, event: 'e', data, except: [], key: undefined, ttl: undefined, ...options };
}

export async function startCore(options: Options = {}): Promise<Core> {
  const core = new Core(options);
  running.push(core.postroom);
  await core.postroom.start();
  return core;
}
