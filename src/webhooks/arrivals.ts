import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Cluster } from '../cluster/cluster.js';
import type { RoomMember } from '../core/presence/members.js';
import type { Tracker } from '../core/presence/tracker.js';
import type { After, Clock } from '../model/clock.js';
import { inTurns, nextTurn } from '../model/turns.js';
import { END, type Lease, pagesOf, type Store } from '../storage/store.js';

const GROUP = 200;
const PAGE = 500;
const RETRY_MS = 1000;

const Doubt = z.object({ room: z.string(), user: z.string() });

/** Somebody in a room, as PHP was told. */
export interface Arrival {
  readonly room: string;
  readonly user: string;
  /** JSON text. */
  readonly info: string | null;
  /** `coming` and `leaving`: PHP is being told. It may know or not. */
  readonly state: 'coming' | 'there' | 'leaving';
}

/**
 * Tells PHP who came to which room and who left, of the whole installation. The node that sends compares what PHP was
 * told, which is stored, with what is so. So nothing is missed if another node takes over, or all start anew.
 */
export class Arrivals {
  readonly #options: ArrivalsOptions;
  /** What is to be compared, by its key in the store. */
  readonly #due = new Map<string, Pick<Arrival, 'room' | 'user'>>();
  #isComparing = false;
  #wasOwner = false;
  /** From then on, who is not there has left: before, who was there may be on the way back. In ms of `elapsed`. */
  #settledAt = Number.POSITIVE_INFINITY;
  #isSettled = false;
  #isStopped = false;
  #comparing: Promise<void> = Promise.resolve();

  constructor(options: ArrivalsOptions) {
    this.#options = options;
    options.tracker.watch(member => this.#changed(member));
    options.cluster.handle(options.topic, body => {
      const { room, user } = Doubt.parse(JSON.parse(body));
      this.#compareAgain(room, user);
      return undefined;
    });
  }

  start(): void {
    const { clock, after, settleMs } = this.#options;
    this.#settledAt = clock.elapsed() + settleMs;
    const check = () => {
      if (this.#isStopped) return;
      this.#check();
      after(RETRY_MS, check);
    };
    check();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#comparing;
  }

  #changed({ room, user }: RoomMember): void {
    // When it sends again, it must compare everything.
    if (!this.#options.lease.isHeld) this.#wasOwner = false;
    if (!this.#wasOwner) return;
    this.#add(room.name, user);
    this.#compare();
  }

  #add(room: string, user: string): void {
    if (!this.#options.covers(room)) return;
    this.#due.set(keyOf(room, user), { room, user });
  }

  /** A node that begins to send compares everything. */
  #check(): void {
    const { lease, clock, failed } = this.#options;
    const isSettled = clock.elapsed() >= this.#settledAt;
    const wasSettled = this.#isSettled;
    this.#isSettled = isSettled;
    if (!lease.isHeld) {
      this.#wasOwner = false;
      this.#due.clear();
      return;
    }
    if (!this.#wasOwner) void this.#addPresent();
    const isNew = !this.#wasOwner || !wasSettled;
    this.#wasOwner = true;
    if (isSettled && isNew)
      void this.#addTold().catch(error => {
        this.#wasOwner = false;
        failed(error);
      });
    this.#compare();
  }

  async #addPresent(): Promise<void> {
    await inTurns(this.#options.tracker.members.all(), ({ room, user, isPresent }) => {
      if (isPresent) this.#add(room.name, user);
    });
    this.#compare();
  }

  async #addTold(): Promise<void> {
    for await (const page of pagesOf(this.#options.told, '', END, PAGE)) {
      if (this.#isStopped) return;
      for (const [key, { room, user }] of page) this.#due.set(key, { room, user });
    }
    this.#compare();
  }

  #compare(): void {
    if (this.#isComparing || this.#due.size === 0) return;
    this.#isComparing = true;
    this.#comparing = this.#compareAll()
      .catch(this.#options.failed)
      .then(() => {
        this.#isComparing = false;
      });
  }

  async #compareAll(): Promise<void> {
    while (this.#due.size > 0 && this.#options.lease.isHeld && !this.#isStopped) {
      const group = this.#takeGroup();
      const results = await Promise.allSettled(group.map(([key, arrival]) => this.#compareOne(key, arrival)));
      const failure = results.find(result => result.status === 'rejected');
      await nextTurn();
      if (failure === undefined) continue;
      // They are tried again at the next check.
      group.forEach(([key, arrival], index) => {
        if (results[index]?.status === 'rejected' && !this.#due.has(key)) this.#due.set(key, arrival);
      });
      throw failure.reason;
    }
  }

  #takeGroup(): [key: string, arrival: Pick<Arrival, 'room' | 'user'>][] {
    const group: [string, Pick<Arrival, 'room' | 'user'>][] = [];
    for (const entry of this.#due) {
      this.#due.delete(entry[0]);
      if (group.push(entry) === GROUP) break;
    }
    return group;
  }

  async #compareOne(key: string, { room, user }: Pick<Arrival, 'room' | 'user'>): Promise<void> {
    const { tracker, told } = this.#options;
    let before = await told.get(key);
    if (!this.#mayGoOn({ room, user })) return;
    // A node that died in between may have told it or not: it is told again.
    if (before?.state === 'coming') before = await this.#come(key, before);
    if (before?.state === 'leaving') before = await this.#leave(key, before);
    const member = tracker.members.member(room, user);
    if (member?.isPresent && before === undefined)
      await this.#come(key, { room, user, info: member.info ?? null, state: 'coming' });
    else if (!member?.isPresent && before !== undefined && this.#isSettled) await this.#leave(key, before);
  }

  #compareAgain(room: string, user: string): void {
    if (!this.#wasOwner) return;
    this.#add(room, user);
    this.#compare();
  }

  async #come(key: string, arrival: Arrival): Promise<Arrival> {
    const { told, tell } = this.#options;
    await told.put(key, { ...arrival, state: 'coming' });
    const there: Arrival = { ...arrival, state: 'there' };
    if (!this.#mayGoOn(arrival)) return there;
    await tell('came', arrival);
    if (this.#mayGoOn(arrival)) await told.put(key, there);
    return there;
  }

  async #leave(key: string, arrival: Arrival): Promise<undefined> {
    const { told, tell } = this.#options;
    await told.put(key, { ...arrival, state: 'leaving' });
    if (!this.#mayGoOn(arrival)) return;
    await tell('left', arrival);
    if (this.#mayGoOn(arrival)) await told.remove(key);
  }

  /**
   * Whether this node still has the lease. If it was too slow, another node may have told something else meanwhile.
   * That one compares again.
   */
  #mayGoOn({ room, user }: Pick<Arrival, 'room' | 'user'>): boolean {
    if (this.#options.lease.isHeld) return true;
    // If it gets the lease again, it compares everything.
    this.#wasOwner = false;
    const { cluster, topic } = this.#options;
    cluster.tell(topic, JSON.stringify({ room, user }));
    return false;
  }
}

interface ArrivalsOptions {
  readonly cluster: Cluster;
  /** The topic of this object's messages to those of other nodes. */
  readonly topic: string;
  readonly tracker: Tracker;
  /** Whether the backend hears of a room. */
  readonly covers: (room: string) => boolean;
  /** What PHP was told. */
  readonly told: Store<Arrival>;
  readonly lease: Lease;
  readonly clock: Clock;
  readonly after: After;
  /** How long after the start of this node those who were there may come back. */
  readonly settleMs: number;
  /** Resolves when the event is durable. */
  readonly tell: (what: 'came' | 'left', arrival: Arrival) => Promise<void>;
  readonly failed: (error: unknown) => void;
}

/** Names may be longer than a key. */
function keyOf(room: string, user: string): string {
  return createHash('sha256').update(`${room}\0${user}`).digest('base64url');
}
