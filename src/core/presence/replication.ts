import { z } from 'zod';
import type { Cluster } from '../../cluster/cluster.js';
import type { After } from '../../model/clock.js';
import { Turns } from '../../model/turns.js';
import { readNodeReport } from '../node-report.js';
import type { Members, RoomMember } from './members.js';

// Changes of one message, and of one part of a list.
const MAX_CHANGES = 200;
// Most of them may be of other nodes. About a millisecond.
const MAX_LOOKED_AT = 5000;
// Changes that come one after the other are told together.
const TELL_MS = 20;
const CHECK_MS = 1000;
// A list that was asked for is asked for again if nothing of it came in this time.
const ANSWER_MS = 2000;
// If Redis starts anew without its data, nodes are missing until their next heartbeat.
const LEAST_GONE_MS = 1500;

/** A user came to a room on the sending node, or has left it there: then there is no `at`. */
const Change = z.tuple([z.string(), z.string()]).rest(z.union([z.number(), z.string()]));
type Change = z.output<typeof Change>;

type Message = z.output<typeof Message>;
const Message = z.discriminatedUnion('kind', [
  /** The changes that make this version of the one before. */
  z.object({ kind: z.literal('changes'), version: z.number(), changes: z.array(Change) }),
  /** Asks for a part of all members of the node. 0 begins anew. */
  z.object({ kind: z.literal('ask'), number: z.number() }),
  /** A part of all members. Changes come between the parts. */
  z.object({ kind: z.literal('part'), number: z.number(), version: z.number(), changes: z.array(Change) }),
  /** There are no more parts. */
  z.object({ kind: z.literal('end'), number: z.number(), version: z.number() }),
]);

/** What this node has of the members of another one. */
interface Copy {
  /** The version that it has; undefined before the first part of a list. */
  version: number | undefined;
  /** Whether nothing is missing up to this version. */
  isWhole: boolean;
  /** The number of the part that is to come next. */
  next: number;
  mark: number;
  /** When a part was asked for, in milliseconds of `elapsed`. */
  askedAt: number;
  /** The version in the node's report, at the last check. */
  reported: number;
  /** When the node was found to be gone, in milliseconds of `elapsed`. */
  goneAt: number | undefined;
}

/**
 * Tells the other nodes the members of this node, and keeps a copy of theirs. Each message has a number, and each node
 * reports its last number with its heartbeat. So a lost message is noticed, and then the node is asked for all of its
 * members. If a node is gone, its members go with it. (The design follows Phoenix.Tracker.)
 */
export class Replication {
  version = 0;
  readonly #name: 'presence' | 'occupancy';
  readonly #cluster: Cluster;
  readonly #members: Members;
  readonly #graceMs: number;
  readonly #elapsed: () => number;
  readonly #after: After;
  readonly #failed: (error: unknown) => void;
  readonly #copies = new Map<string, Copy>();
  readonly #heard: Turns<readonly [from: string, body: string]>;
  /** Members of this node that the others must be told of. */
  readonly #changed = new Set<RoomMember>();
  #isTelling = false;
  #toldAt = Number.NEGATIVE_INFINITY;
  /** The members that other nodes have not been told of yet, of those who asked for all. */
  readonly #lists = new Map<string, Iterator<RoomMember>>();
  #mark = 0;
  #stopChecking: (() => void) | undefined;
  #isStopped = false;

  constructor(parts: {
    /** The topic of its messages, and the version's name in the nodes' reports. */
    name: 'presence' | 'occupancy';
    cluster: Cluster;
    members: Members;
    graceMs: number;
    elapsed: () => number;
    after: After;
    failed: (error: unknown) => void;
  }) {
    this.#name = parts.name;
    this.#cluster = parts.cluster;
    this.#members = parts.members;
    this.#graceMs = parts.graceMs;
    this.#elapsed = parts.elapsed;
    this.#after = parts.after;
    this.#failed = parts.failed;
    this.#heard = new Turns(([from, body]) => this.#take(from, body));
    this.#cluster.handle(this.#name, (body, from) => {
      this.#heard.push([from, body]);
      return undefined;
    });
  }

  start(): void {
    this.#check();
  }

  stop(): void {
    this.#isStopped = true;
    this.#stopChecking?.();
  }

  /** Call this if a member came to this node, left it, or has another `info` here. */
  changed(member: RoomMember): void {
    this.#changed.add(member);
    if (this.#isTelling) return;
    this.#isTelling = true;
    this.#after(Math.max(0, this.#toldAt + TELL_MS - this.#elapsed()), () => this.#tell());
  }

  #tell(): void {
    this.#isTelling = false;
    this.#toldAt = this.#elapsed();
    const members = [...this.#changed];
    this.#changed.clear();
    if (this.#cluster.nodes().length === 1) {
      this.version++;
      return;
    }
    for (let from = 0; from < members.length; from += MAX_CHANGES) {
      const changes = members.slice(from, from + MAX_CHANGES).map(member => this.#changeOf(member));
      this.#send({ kind: 'changes', version: ++this.version, changes });
    }
  }

  #changeOf(member: RoomMember): Change {
    const own = member.holderOf(this.#cluster.node);
    const { room, user } = member;
    if (own === undefined) return [room.name, user];
    return own.info === undefined ? [room.name, user, own.at] : [room.name, user, own.at, own.info];
  }

  #send(message: Message, node?: string): void {
    this.#cluster.tell(this.#name, JSON.stringify(message), node);
  }

  /** Looks which nodes are there, and whether a message of theirs was lost. */
  #check(): void {
    const reported = new Map(
      this.#cluster.nodes().map(({ node, report }) => [node, readNodeReport(report)[this.#name]]),
    );
    for (const [node, version] of reported) if (node !== this.#cluster.node) this.#checkNode(node, version);
    for (const [node, copy] of this.#copies) if (!reported.has(node)) this.#checkGone(node, copy);
    for (const node of this.#lists.keys()) if (!reported.has(node)) this.#lists.delete(node);
    if (!this.#isStopped) this.#stopChecking = this.#after(CHECK_MS, () => this.#check());
  }

  #checkNode(node: string, version: number): void {
    let copy = this.#copies.get(node);
    // A node that never had a member has nothing to tell.
    if (copy === undefined && version === 0) return;
    copy ??= this.#newCopy(node);
    copy.goneAt = undefined;
    // The report and the messages come over different connections. So a message may be up to one check late.
    if (copy.version !== undefined && copy.version < copy.reported) copy.isWhole = false;
    copy.reported = version;
    if (!copy.isWhole) this.#ask(node, copy);
  }

  #checkGone(node: string, copy: Copy): void {
    const now = this.#elapsed();
    copy.goneAt ??= now;
    if (now - copy.goneAt < Math.max(this.#graceMs, LEAST_GONE_MS)) return;
    this.#copies.delete(node);
    void this.#members.removeOlder(node, ++this.#mark).catch(this.#failed);
  }

  #newCopy(node: string): Copy {
    const copy: Copy = {
      version: undefined,
      isWhole: false,
      next: 0,
      mark: ++this.#mark,
      askedAt: Number.NEGATIVE_INFINITY,
      reported: 0,
      goneAt: undefined,
    };
    this.#copies.set(node, copy);
    return copy;
  }

  /** Asks for all members of a node, from the beginning. */
  #ask(node: string, copy: Copy): void {
    if (this.#elapsed() - copy.askedAt < ANSWER_MS) return;
    copy.version = undefined;
    copy.next = 0;
    this.#askNext(node, copy);
  }

  /** Part by part: a node gets only what it can take. */
  #askNext(node: string, copy: Copy): void {
    copy.askedAt = this.#elapsed();
    this.#send({ kind: 'ask', number: copy.next }, node);
  }

  #take(from: string, body: string): void {
    try {
      const message = Message.parse(JSON.parse(body));
      if (message.kind === 'ask') this.#answer(from, message.number);
      else this.#copy(from, this.#copies.get(from) ?? this.#newCopy(from), message);
    } catch (error) {
      this.#failed(error);
    }
  }

  #copy(from: string, copy: Copy, message: Exclude<Message, { kind: 'ask' }>): void {
    const { version } = message;
    if (message.kind === 'changes') copy.version = copy.version === version - 1 ? version : undefined;
    else {
      // It may be of a list that is not asked for any more.
      if (message.number !== copy.next) return;
      if (message.number === 0) {
        copy.mark = ++this.#mark;
        copy.version = version;
      }
      if (copy.version !== version) copy.version = undefined;
    }
    if (copy.version === undefined) copy.isWhole = false;
    if (message.kind !== 'end') for (const change of message.changes) this.#apply(from, copy.mark, change);
    if (copy.version === undefined) this.#ask(from, copy);
    else if (message.kind === 'end') this.#end(from, copy);
    else if (message.kind === 'part') {
      copy.next++;
      this.#askNext(from, copy);
    }
  }

  /** A list has come to its end: what is not in it is gone. */
  #end(from: string, copy: Copy): void {
    copy.isWhole = true;
    void this.#members.removeOlder(from, copy.mark).catch(this.#failed);
  }

  #apply(node: string, mark: number, [room, user, at, info]: Change): void {
    if (typeof at !== 'number') this.#members.remove(room, user, node);
    else this.#members.put(room, user, { node, info: typeof info === 'string' ? info : undefined, at, mark });
  }

  /** Sends the next part of all members of this node. */
  #answer(node: string, number: number): void {
    const list = number === 0 ? this.#members.all()[Symbol.iterator]() : this.#lists.get(node);
    // The list is over, or was never begun: the other node asks anew.
    if (list === undefined) return;
    this.#lists.set(node, list);
    const changes: Change[] = [];
    for (let looked = 0; looked < MAX_LOOKED_AT && changes.length < MAX_CHANGES; looked++) {
      const { value: member, done } = list.next();
      if (done === true) {
        this.#lists.delete(node);
        if (changes.length === 0) return this.#send({ kind: 'end', number, version: this.version }, node);
        // The next question finds nothing left.
        this.#lists.set(node, [][Symbol.iterator]());
        break;
      }
      if (member.holderOf(this.#cluster.node) !== undefined) changes.push(this.#changeOf(member));
    }
    this.#send({ kind: 'part', number, version: this.version, changes }, node);
  }
}
