import type { Cluster } from '../../cluster/cluster.js';
import type { After } from '../../model/clock.js';
import type { Id } from '../../model/id.js';
import type { Entry } from '../../model/notification.js';

const TOPIC = 'acknowledged';
// An append can fail although its entry was written. Then nobody waits for it.
const UNASKED_MS = 5000;
// A node that has died does not report: nobody waits for it when it has left the list of nodes.
const CHECK_MS = 1000;

/** What a node has of a notification that somebody waits for. */
interface Report {
  readonly acknowledged: number;
  /** Open connections that have not acknowledged it. */
  readonly pending: number;
}

/** A notification of this node, and what the nodes have reported so far. */
interface Wait {
  /** Nodes that were there. One that starts later hands the notification to nobody. */
  readonly nodes: ReadonlySet<string>;
  readonly reports: Map<string, Report>;
  done: ((acknowledged: number) => void) | undefined;
}

/**
 * Lets publishers of this node wait until all who got a notification have acknowledged it. Each node reports to the
 * node that appended the notification: at the end of the turn, how many have acknowledged it, and how many still could.
 */
export class Waits {
  readonly #cluster: Cluster;
  readonly #after: After;
  readonly #waits = new Map<string, Wait>();
  /** Reports for other nodes that leave at the end of the turn: by node, then by id. */
  readonly #reports = new Map<string, Map<string, Report>>();
  #isStopped = false;

  constructor(cluster: Cluster, after: After) {
    this.#cluster = cluster;
    this.#after = after;
    cluster.handle(TOPIC, (body, node) => this.#hear(body, node));
  }

  /** Reports what this node has of an entry. */
  report({ id, node = this.#cluster.node }: Entry, acknowledged: number, pending: number): void {
    if (node === this.#cluster.node) return this.#take(id, node, { acknowledged, pending });
    if (this.#reports.size === 0) setImmediate(() => this.#send());
    let reports = this.#reports.get(node);
    if (reports === undefined) {
      reports = new Map();
      this.#reports.set(node, reports);
    }
    reports.set(id, { acknowledged, pending });
  }

  /**
   * Resolves to how many connections have acknowledged an entry of this node: when nobody is left who could, after so
   * many seconds, or at a stop.
   */
  wait(id: Id, seconds: number): Promise<number> {
    const wait = this.#waitOf(id);
    return new Promise(resolve => {
      const cancel = this.#after(seconds * 1000, () => this.#end(id, wait));
      let cancelCheck: () => void = () => undefined;
      const checkLater = () => {
        cancelCheck = this.#after(CHECK_MS, () => {
          if (this.#isComplete(wait)) this.#end(id, wait);
          else checkLater();
        });
      };
      checkLater();
      wait.done = acknowledged => {
        cancel();
        cancelCheck();
        resolve(acknowledged);
      };
      if (this.#isStopped || this.#isComplete(wait)) this.#end(id, wait);
    });
  }

  /** Ends all waits with what is known. */
  stop(): void {
    this.#isStopped = true;
    for (const [id, wait] of this.#waits) this.#end(id, wait);
  }

  #send(): void {
    for (const [node, reports] of this.#reports) {
      const parts = [...reports].flatMap(([id, { acknowledged, pending }]) => [id, acknowledged, pending]);
      this.#cluster.tell(TOPIC, parts.join(' '), node);
    }
    this.#reports.clear();
  }

  #hear(body: string, node: string): undefined {
    const parts = body.split(' ');
    for (let at = 0; at + 2 < parts.length; at += 3) {
      const [id = '', acknowledged, pending] = parts.slice(at, at + 3);
      const report = { acknowledged: Number(acknowledged), pending: Number(pending) };
      if (Number.isSafeInteger(report.acknowledged) && Number.isSafeInteger(report.pending))
        this.#take(id, node, report);
    }
  }

  #take(id: string, node: string, report: Report): void {
    const wait = this.#waitOf(id);
    wait.reports.set(node, report);
    if (wait.done !== undefined && this.#isComplete(wait)) this.#end(id, wait);
  }

  /** Reports can come before the append resolves. */
  #waitOf(id: string): Wait {
    let wait = this.#waits.get(id);
    if (wait !== undefined) return wait;
    const nodes = new Set(this.#cluster.nodes().map(({ node }) => node));
    wait = { nodes, reports: new Map(), done: undefined };
    const made = wait;
    this.#waits.set(id, made);
    this.#after(UNASKED_MS, () => {
      if (made.done === undefined) this.#waits.delete(id);
    });
    return made;
  }

  /** Whether all nodes have reported, and nobody is left who could acknowledge. */
  #isComplete({ nodes, reports }: Wait): boolean {
    return this.#cluster.nodes().every(({ node }) => {
      const report = reports.get(node);
      return report === undefined ? !nodes.has(node) : report.pending === 0;
    });
  }

  #end(id: string, wait: Wait): void {
    this.#waits.delete(id);
    let acknowledged = 0;
    for (const report of wait.reports.values()) acknowledged += report.acknowledged;
    wait.done?.(acknowledged);
  }
}
