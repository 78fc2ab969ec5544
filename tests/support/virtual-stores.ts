import { MemoryStores } from '../../src/storage/memory.js';
import type { Lease, Store, Stores } from '../../src/storage/store.js';
import type { Network, VirtualNode } from './virtual-cluster.js';

/** How something is just now. `unsure`: it does what it is asked to, and says that it has failed. */
export type Health = 'well' | 'away' | 'unsure';

/** Something that nodes ask. It happens at once. The node hears of it a moment later, if it still lives. */
export function ask<T>(
  network: Network,
  cluster: VirtualNode,
  health: Health,
  act: () => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (!network.nodes.has(cluster)) return;
    const done = health === 'away' ? Promise.reject(new Error('away')) : act();
    const failed = (error: unknown) => cluster.after(1, () => reject(error));
    done.then(
      result => (health === 'unsure' ? failed(new Error('away')) : cluster.after(1, () => resolve(result))),
      failed,
    );
  });
}

/** Whether an error is that of something that is away, or unsure. */
export function isAwayError(error: unknown): boolean {
  return error instanceof Error && error.message === 'away';
}

/** The stores and the lease that virtual nodes share. */
export class VirtualStores {
  health: Health = 'well';
  /** Calls of all nodes. */
  calls = 0;
  readonly #network: () => Network;
  readonly #leaseMs: number;
  readonly #stores: Stores;
  #holder: VirtualNode | undefined;
  #until = 0;

  constructor(network: () => Network, leaseMs: number, stores: Stores = new MemoryStores()) {
    this.#network = network;
    this.#leaseMs = leaseMs;
    this.#stores = stores;
  }

  /** A store, as a node has it. */
  open<V>(cluster: VirtualNode, name: string): Store<V> {
    const store = this.#stores.open<V>(name);
    return {
      get: key => this.ask(cluster, () => store.get(key)),
      put: (key, value) => this.ask(cluster, () => store.put(key, value)),
      remove: key => this.ask(cluster, () => store.remove(key)),
      range: (...bounds) => this.ask(cluster, () => store.range(...bounds)),
    };
  }

  /** The lease, as a node has it. */
  lease(cluster: VirtualNode): Lease {
    const now = () => this.#network().time.clock.elapsed();
    let until = 0;
    return {
      get isHeld() {
        return now() < until;
      },
      hold: async () => {
        const asked = now();
        const isOurs = await this.ask(cluster, async () => {
          if (this.#holder !== cluster && now() < this.#until) return false;
          this.#holder = cluster;
          this.#until = now() + this.#leaseMs;
          return true;
        });
        until = isOurs ? asked + this.#leaseMs : 0;
        return isOurs;
      },
      release: async () => undefined,
    };
  }

  /** The holder cannot prolong it any more. When it is over, the next holder is another one, perhaps. */
  loseLease(): void {
    this.#holder = undefined;
  }

  /** The lease is free at once, although its holder does not know: its store has lost it. */
  forgetLease(): void {
    this.#holder = undefined;
    this.#until = 0;
  }

  ask<T>(cluster: VirtualNode, act: () => Promise<T>): Promise<T> {
    this.calls++;
    return ask(this.#network(), cluster, this.health, act);
  }
}
