import type { Cluster } from '../cluster/cluster.js';
import type { After } from '../model/clock.js';
import { Repeated } from '../model/repeated.js';
import { END, type Lease, pagesOf, type Store } from '../storage/store.js';
import type { EventQueue } from './queue.js';
import { keysOf, type OpenConnection } from './open-connections.js';

const PAGE = 500;
const CHECK_MS = 1000;
// A node that is missing for so many checks is gone. One that was paused may only be late.
const GONE_AFTER = 2;

/** Tells the end of connections whose process died: the node that sends looks for nodes that are gone. */
export class Crashes {
  readonly #options: CrashesOptions;
  /** For how many checks each node was missing. */
  #missing = new Map<string, number>();
  readonly #checks: Repeated;
  #isStopped = false;

  constructor(options: CrashesOptions) {
    this.#options = options;
    const { after, failed } = options;
    this.#checks = new Repeated({ pauseMs: CHECK_MS, after, run: () => this.#check(), failed });
  }

  /** Looks every second from now on. */
  start(): void {
    this.#checks.start();
  }

  /** What was not told is told by another node, or after the next start. */
  stop(): Promise<void> {
    this.#isStopped = true;
    return this.#checks.stop();
  }

  async #check(): Promise<void> {
    const { cluster, lease } = this.#options;
    if (!lease.isHeld) return this.#missing.clear();
    const alive = new Set(cluster.nodes().map(({ node }) => node));
    const missing = new Map<string, number>();
    for await (const node of this.#nodes())
      if (!alive.has(node)) missing.set(node, (this.#missing.get(node) ?? 0) + 1);
    this.#missing = missing;
    for (const [node, checks] of missing) if (checks >= GONE_AFTER) await this.#tell(node);
  }

  /** The nodes that have connections in the store. */
  async *#nodes(): AsyncGenerator<string> {
    for (let from = ''; ; ) {
      const [first] = await this.#options.connections.range(from, END, 1);
      if (first === undefined) return;
      const [node = ''] = first[0].split(' ', 1);
      yield node;
      [, from] = keysOf(node);
    }
  }

  /** Tells the end of all connections of a node. */
  async #tell(node: string): Promise<void> {
    const { queue, connections } = this.#options;
    for await (const page of pagesOf(connections, ...keysOf(node), PAGE)) {
      if (this.#isStopped) return;
      await Promise.all(
        page.map(async ([key, connection]) => {
          // First the event, then the record: a crash in between tells it twice, never not at all.
          const crashed = { ...connection, reason: 'crashed', seconds: null } as const;
          if (!(await queue.add({ type: 'connection.closed', ...crashed })))
            throw new Error('the end of a connection could not be stored');
          await connections.remove(key);
        }),
      );
    }
  }
}

interface CrashesOptions {
  readonly queue: EventQueue;
  readonly connections: Store<OpenConnection>;
  readonly cluster: Cluster;
  readonly lease: Lease;
  readonly after: After;
  readonly failed: (error: unknown) => void;
}
