import type { RedisClient } from '../redis/client.js';
import { Counts, type Total } from './counts.js';
import type { NodeStatus } from './journal.js';

const COUNT_MS = 250;

/** The nodes that share a Redis journal, this one among them: who there is, and how many connections each entry reached. */
export class Peers {
  readonly node: string;
  readonly #channel: (node: string) => string;
  readonly #counts = new Counts(COUNT_MS);
  /** What is to be told to the nodes that appended: numbers and counts in turn. */
  readonly #reports = new Map<string, number[]>();
  #nodes: readonly NodeStatus[] = [];

  /** @param channel where a node hears how many connections its entries reached */
  constructor(node: string, channel: (node: string) => string) {
    this.node = node;
    this.#channel = channel;
  }

  get nodes(): readonly NodeStatus[] {
    return this.#nodes;
  }

  /** Takes in who is there now; who is gone is not waited for any more. */
  set nodes(nodes: readonly NodeStatus[]) {
    this.#nodes = nodes;
    this.#counts.keepOnly(new Set(nodes.map(({ node }) => node)));
  }

  /** Begins to count for an entry of ours. */
  begin(number: number): void {
    this.#counts.begin(
      number,
      this.#nodes.map(({ node }) => node),
    );
  }

  /** Resolves, within 250 ms, to what all nodes told. */
  total(number: number): Promise<Total> {
    return this.#counts.total(number);
  }

  forget(number: number): void {
    this.#counts.forget(number);
  }

  /** Resolves when nothing is counted any more. */
  idle(): Promise<void> {
    return this.#counts.idle();
  }

  /** Notes how many connections of this node an entry reached, whoever appended it. */
  reached(entry: { readonly node: string; readonly number: number }, connections: number): void {
    if (entry.node === this.node) {
      this.#counts.hear(this.node);
      return this.#counts.add(entry.number, this.node, connections);
    }
    const report = this.#reports.get(entry.node);
    if (report === undefined) this.#reports.set(entry.node, [entry.number, connections]);
    else report.push(entry.number, connections);
  }

  /** Tells the others what was noted. What is lost on the way makes an answer partial, which says so. */
  async tell(redis: RedisClient): Promise<void> {
    const reports = [...this.#reports];
    this.#reports.clear();
    await Promise.all(
      reports.map(([node, counts]) => redis.publish(this.#channel(node), `${this.node} ${counts.join(' ')}`)),
    );
  }

  /** Hears what the others tell, from now on. */
  async listen(redis: RedisClient): Promise<void> {
    await redis.subscribe(this.#channel(this.node));
  }

  /** Takes in what a node told. */
  hear(report: string): void {
    const [node = '', ...counts] = report.split(' ');
    this.#counts.hear(node);
    for (let at = 0; at + 1 < counts.length; at += 2)
      this.#counts.add(Number(counts[at]), node, Number(counts[at + 1]));
  }
}
