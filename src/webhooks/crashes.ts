import type { Cluster } from '../cluster/cluster.js';
import type { After } from '../model/clock.js';
import type { Lease, Store } from '../storage/store.js';
import type { EventQueue } from './queue.js';
import { keysOf, type Session } from './session.js';

const PAGE = 500;
const CHECK_MS = 1000;
// A node that is missing for so many checks is gone. One that was paused may only be late.
const GONE_AFTER = 2;
// A node that was taken for dead, and lives, says so again.
const SAY_EVERY = 10;
/** Behind every key. */
const END = '~';

/** Tells the end of connections whose process died: the node that sends looks for nodes that are gone. */
export class Crashes {
  readonly #options: CrashesOptions;
  /** For how many checks each node was missing. */
  #missing = new Map<string, number>();
  #checks = 0;
  #isStopped = false;
  #checking: Promise<void> = Promise.resolve();

  constructor(options: CrashesOptions) {
    this.#options = options;
  }

  /** Says that this node has sessions from now on. Rejects if that cannot be stored. */
  async register(): Promise<void> {
    await this.#options.nodes.put(this.#options.cluster.node, true);
  }

  start(): void {
    this.#checkLater();
  }

  /** @param isClean whether the ends of all connections of this node have been told */
  async stop(isClean: boolean): Promise<void> {
    this.#isStopped = true;
    await this.#checking;
    if (isClean) await this.#options.nodes.remove(this.#options.cluster.node);
  }

  #checkLater(): void {
    this.#options.after(CHECK_MS, () => {
      if (this.#isStopped) return;
      this.#checking = this.#check()
        .catch(this.#options.failed)
        .then(() => this.#checkLater());
    });
  }

  async #check(): Promise<void> {
    const { nodes, cluster, lease, isShared } = this.#options;
    if (isShared && ++this.#checks % SAY_EVERY === 0) await this.register();
    if (!lease.isHeld) return this.#missing.clear();
    const alive = new Set(cluster.nodes().map(({ node }) => node));
    const missing = new Map<string, number>();
    for (const [node] of await nodes.range('', END, PAGE))
      if (!alive.has(node)) missing.set(node, (this.#missing.get(node) ?? 0) + 1);
    this.#missing = missing;
    for (const [node, checks] of missing) if (checks >= GONE_AFTER) await this.#tell(node);
  }

  /** Tells the end of all connections of a node. */
  async #tell(node: string): Promise<void> {
    const { queue, sessions, nodes } = this.#options;
    for (;;) {
      const found = await sessions.range(...keysOf(node), PAGE);
      await Promise.all(
        found.map(async ([key, session]) => {
          // First the event, then the session: a crash in between tells it twice, never not at all.
          const isStored = await queue.add({
            type: 'connection.closed',
            ...session,
            reason: 'crashed',
            seconds: null,
          });
          if (!isStored) throw new Error('the end of a connection could not be stored');
          await sessions.remove(key);
        }),
      );
      if (found.length < PAGE) break;
      if (this.#isStopped) return;
    }
    await nodes.remove(node);
  }
}

interface CrashesOptions {
  readonly queue: EventQueue;
  readonly sessions: Store<Session>;
  /** The nodes that have sessions. */
  readonly nodes: Store<true>;
  readonly cluster: Cluster;
  readonly lease: Lease;
  readonly isShared: boolean;
  readonly after: After;
  readonly failed: (error: unknown) => void;
}
