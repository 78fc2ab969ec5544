import type { Cluster } from '../cluster/cluster.js';
import { compareMoments, type Id, type Moment, parseId } from '../model/id.js';
import type { Entry } from '../model/notification.js';

const TOPIC = 'counts';
// An append can fail although its entry was written. Then nobody asks for its count, which is dropped after this time.
const UNASKED_MS = 5000;
const NOBODY: Set<string> = new Set();

/** How many connections an entry was addressed to. */
export interface Total {
  readonly connections: number;
  /** Some nodes did not report their part in time. */
  readonly partial: boolean;
}

/** The count of one entry of this node, so far. */
interface Count {
  connections: number;
  /** Nodes that have not reported yet. */
  readonly waiting: Set<string>;
  /** The count does not wait for every node. */
  partial: boolean;
  /** When the count ends at the latest, in milliseconds of `performance.now`. */
  deadline: number;
  done: ((total: Total) => void) | undefined;
}

/**
 * Counts how many connections, on all nodes, the entries of this node were addressed to. Each node reports its part to
 * the node that appended the entry.
 */
export class Counts {
  readonly #cluster: Cluster;
  readonly #boundMs: number;
  readonly #open = new Map<string, Count>();
  /** Parts for entries of other nodes, sent at the end of the turn: id, number, id, number, … */
  readonly #reports = new Map<string, (string | number)[]>();
  /** Nodes that did not report in time. Counts do not wait for them until they report again. */
  readonly #silent = new Set<string>();
  /** The last entry that this node has delivered. */
  #delivered: Moment | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer fires, in milliseconds of `performance.now`. */
  #timerAt = Number.POSITIVE_INFINITY;
  #onIdle: (() => void) | undefined;

  /** @param boundMs how long to wait for other nodes, in milliseconds */
  constructor(cluster: Cluster, boundMs: number) {
    this.#cluster = cluster;
    this.#boundMs = boundMs;
    cluster.handle(TOPIC, (report, node) => this.#hear(report, node));
  }

  /** Call this when this node has delivered an entry to so many connections. */
  delivered(entry: Entry, connections: number): void {
    const { id, node } = entry;
    this.#delivered = entry;
    if (node === undefined) {
      const deadline = Number.POSITIVE_INFINITY;
      this.#open.set(id, { connections, waiting: NOBODY, partial: false, deadline, done: undefined });
    } else if (node === this.#cluster.node) this.#add(id, node, connections);
    else this.#report(node, id, connections);
  }

  /** Resolves when all nodes have reported, or after the bound. Call it once for each entry of this node. */
  total(id: Id): Total | Promise<Total> {
    const count = this.#countOf(id);
    if (count.waiting.size === 0) {
      this.#open.delete(id);
      return count;
    }
    count.deadline = performance.now() + this.#boundMs;
    this.#schedule(count.deadline);
    return new Promise(resolve => {
      count.done = resolve;
    });
  }

  /** Nobody will ask for the total of an entry of this node. */
  forget(id: Id): void {
    this.#open.delete(id);
  }

  /** Resolves when nobody waits for a total: within the bound, if no new total is asked for. */
  async idle(): Promise<void> {
    while ([...this.#open.values()].some(({ done }) => done !== undefined))
      await new Promise<void>(resolve => {
        this.#onIdle = resolve;
      });
    clearTimeout(this.#timer);
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #report(node: string, id: Id, connections: number): void {
    if (this.#reports.size === 0) setImmediate(() => this.#sendReports());
    const report = this.#reports.get(node);
    if (report === undefined) this.#reports.set(node, [id, connections]);
    else report.push(id, connections);
  }

  #sendReports(): void {
    for (const [node, report] of this.#reports) this.#cluster.tell(TOPIC, report.join(' '), node);
    this.#reports.clear();
  }

  #hear(report: string, node: string): undefined {
    this.#silent.delete(node);
    const parts = report.split(' ');
    for (let index = 0; index + 1 < parts.length; index += 2) {
      const id = parts[index] ?? '';
      if (this.#open.has(id) || this.#isStillToCome(id)) this.#add(id, node, Number(parts[index + 1]));
    }
  }

  /** Whether this node will still deliver an entry. If not, and there is no count, the report is too late. */
  #isStillToCome(id: string): boolean {
    const moment = parseId(id);
    if (moment === undefined) return false;
    return this.#delivered === undefined || compareMoments(moment, this.#delivered) > 0;
  }

  /** Adds a node's part. Only the first part of a node counts, and only while the count waits for this node. */
  #add(id: string, node: string, connections: number): void {
    const count = this.#countOf(id);
    if (!Number.isSafeInteger(connections) || !count.waiting.delete(node)) return;
    count.connections += connections;
    if (count.waiting.size === 0) this.#end(id, count);
  }

  /** Makes a missing count: reports can come before this node delivers the entry, and before its append resolves. */
  #countOf(id: string): Count {
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const nodes = this.#cluster.nodes().map(({ node }) => node);
    const waiting = new Set(nodes.filter(node => !this.#silent.has(node)));
    const deadline = performance.now() + UNASKED_MS;
    const partial = waiting.size < nodes.length;
    const count: Count = { connections: 0, waiting, partial, deadline, done: undefined };
    this.#open.set(id, count);
    this.#schedule(deadline);
    return count;
  }

  #end(id: string, count: Count): void {
    if (count.done === undefined) return;
    this.#open.delete(id);
    count.done({ connections: count.connections, partial: count.partial || count.waiting.size > 0 });
    this.#onIdle?.();
  }

  /** Stops waiting for a node, in all counts. */
  #giveUp(node: string): void {
    this.#silent.add(node);
    for (const [id, count] of this.#open) {
      if (!count.waiting.delete(node)) continue;
      count.partial = true;
      if (count.waiting.size === 0) this.#end(id, count);
    }
  }

  /** Stops waiting for nodes that are gone, and forgets them. */
  #forgetGone(): void {
    const alive = new Set(this.#cluster.nodes().map(({ node }) => node));
    for (const node of this.#silent) if (!alive.has(node)) this.#silent.delete(node);
    for (const [id, count] of this.#open) {
      for (const node of count.waiting) if (!alive.has(node)) count.waiting.delete(node);
      if (count.waiting.size === 0) this.#end(id, count);
    }
  }

  #schedule(deadline: number): void {
    if (deadline >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    this.#timer = setTimeout(() => this.#expire(), deadline - performance.now());
    this.#timer.unref();
  }

  #expire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.#forgetGone();
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const [id, count] of this.#open) {
      if (count.deadline > now) next = Math.min(next, count.deadline);
      else if (count.done === undefined) this.#open.delete(id);
      else {
        // This node never reports to itself, so nothing would make it wait for its own part again.
        for (const node of count.waiting) if (node !== this.#cluster.node) this.#giveUp(node);
        this.#end(id, count);
      }
    }
    if (next < Number.POSITIVE_INFINITY) this.#schedule(next);
  }
}
