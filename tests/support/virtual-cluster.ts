import type { Answers, Cluster, ClusterNode, Handler } from '../../src/cluster/cluster.js';
import type { After, Clock } from '../../src/model/clock.js';

const HEARTBEAT_MS = 1000;
const GONE_MS = 3500;
const ANSWER_MS = 500;

/** Time that passes only when a test says so. */
export class VirtualTime {
  #now = 0;
  #numbers = 0;
  readonly #alarms = new Map<number, { at: number; run: () => void }>();
  readonly clock: Clock = { now: () => 1_000_000 + this.#now, elapsed: () => this.#now };

  readonly after: After = (milliseconds, run) => {
    const number = this.#numbers++;
    this.#alarms.set(number, { at: this.#now + milliseconds, run });
    return () => void this.#alarms.delete(number);
  };

  /** Lets time pass up to the next alarm, at most so many milliseconds. Returns how many have passed. */
  pass(milliseconds: number): number {
    let next: [number, { at: number; run: () => void }] | undefined;
    for (const alarm of this.#alarms) if (next === undefined || alarm[1].at < next[1].at) next = alarm;
    const before = this.#now;
    if (next === undefined || next[1].at > this.#now + milliseconds) {
      this.#now += milliseconds;
      return milliseconds;
    }
    const [number, { at, run }] = next;
    this.#alarms.delete(number);
    this.#now = Math.max(this.#now, at);
    run();
    return this.#now - before;
  }
}

/** Connects the nodes of a test. It can lose messages, and forget who is there, as a Redis that is restarted. */
export class Network {
  readonly time = new VirtualTime();
  /** Nodes that are not dead. */
  readonly nodes = new Set<VirtualNode>();
  /** Asked for each message whether it is lost. */
  loses: () => boolean = () => false;

  /** Nodes are known again when they have beaten again. */
  forget(): void {
    for (const node of this.nodes) node.beaten = undefined;
  }
}

/** A node of a cluster in one process. It can be killed or paused: then nothing of it works. */
export class VirtualNode implements Cluster {
  readonly node: string;
  /** Its last heartbeat. */
  beaten: { readonly at: number; readonly report: string } | undefined;
  readonly #network: Network;
  readonly #report: () => string;
  readonly #handlers = new Map<string, Handler>();
  /** What it does when it goes on; undefined while it is not paused. */
  #held: (() => void)[] | undefined;

  constructor(network: Network, node: string, report: () => string) {
    this.node = node;
    this.#network = network;
    this.#report = report;
    network.nodes.add(this);
  }

  get isPaused(): boolean {
    return this.#held !== undefined;
  }

  /** The node's own timer. */
  readonly after: After = (milliseconds, run) => this.#network.time.after(milliseconds, () => this.#do(run));

  async start(): Promise<void> {
    this.beaten = { at: this.#network.time.clock.elapsed(), report: this.#report() };
    this.after(HEARTBEAT_MS, () => void this.start());
  }

  nodes(): readonly ClusterNode[] {
    const now = this.#network.time.clock.elapsed();
    return [...this.#network.nodes]
      .filter(({ beaten }) => beaten !== undefined && now - beaten.at <= GONE_MS)
      .map(({ node, beaten }) => ({ node, report: beaten?.report ?? '' }));
  }

  tell(topic: string, body: string, node?: string): void {
    for (const other of this.#network.nodes) {
      if (other === this || (node !== undefined && node !== other.node) || this.#network.loses()) continue;
      other.#do(() => void other.#handlers.get(topic)?.(body, this.node));
    }
  }

  async ask(topic: string, body: string, withinMs = ANSWER_MS): Promise<Answers> {
    const answers: string[] = [];
    for (const node of this.#network.nodes) {
      const answer = node.isPaused ? undefined : await this.#answerOf(node, topic, body, withinMs);
      if (answer !== undefined) answers.push(answer);
    }
    return { answers, partial: answers.length < this.nodes().length };
  }

  handle(topic: string, handler: Handler): void {
    this.#handlers.set(topic, handler);
  }

  pause(): void {
    this.#held ??= [];
  }

  /** It goes on with what has come meanwhile. */
  resume(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const run of held) run();
  }

  async stop(): Promise<void> {
    this.#network.nodes.delete(this);
  }

  /** Undefined if the node fails, or if its answer does not come in time. */
  #answerOf(node: VirtualNode, topic: string, body: string, withinMs: number): Promise<string | undefined> {
    return new Promise(resolve => {
      const answered = (answer?: string) => {
        cancel();
        resolve(answer);
      };
      const cancel = this.#network.time.after(withinMs, () => resolve(undefined));
      void (async () => node.#handlers.get(topic)?.(body, this.node))().then(answered, () => answered());
    });
  }

  #do(run: () => void): void {
    if (!this.#network.nodes.has(this)) return;
    if (this.#held === undefined) run();
    else this.#held.push(run);
  }
}
