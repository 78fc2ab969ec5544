/** What is known of how many connections one entry of ours was written to. */
interface Count {
  connections: number;
  /** Nodes that have not told yet. */
  readonly waiting: Set<string>;
  /** A node was not waited for. */
  partial: boolean;
  /** In milliseconds, of the clock `performance.now`; undefined until the entry is known to be written. */
  deadline: number | undefined;
  done: ((total: Total) => void) | undefined;
}

export interface Total {
  readonly connections: number;
  /** Not every node told its part in time. */
  readonly partial: boolean;
}

/** Adds up how many connections each of this node's entries was written to, as all nodes tell it. */
export class Counts {
  readonly #boundMs: number;
  readonly #open = new Map<number, Count>();
  /** Nodes that told nothing in time, and nothing since: they are not waited for again. */
  readonly #silent = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #onEmpty: (() => void) | undefined;

  /** @param boundMs how long an entry that is written waits for the nodes, in milliseconds */
  constructor(boundMs: number) {
    this.#boundMs = boundMs;
  }

  /** Begins to count for an entry, whose part these nodes will tell. */
  begin(number: number, nodes: Iterable<string>): void {
    const waiting = new Set<string>();
    for (const node of nodes) if (!this.#silent.has(node)) waiting.add(node);
    const partial = this.#silent.size > 0;
    this.#open.set(number, { connections: 0, waiting, partial, deadline: undefined, done: undefined });
  }

  /** A node speaks, so it is waited for from now on. */
  hear(node: string): void {
    this.#silent.delete(node);
  }

  /** A node tells its part. Of one that is not waited for nothing is believed. */
  add(number: number, node: string, connections: number): void {
    const count = this.#open.get(number);
    if (count === undefined || !Number.isSafeInteger(connections) || !count.waiting.delete(node)) return;
    count.connections += connections;
    this.#settle(number, count);
  }

  /** Nobody wants to know: it is not written, or was there already. */
  forget(number: number): void {
    this.#open.delete(number);
    if (this.#open.size === 0) this.#onEmpty?.();
  }

  /** Resolves when every node has told its part, or is gone, or the bound is over. Entries end in the order of their numbers. */
  total(number: number): Promise<Total> {
    const count = this.#open.get(number);
    if (count === undefined) return Promise.resolve({ connections: 0, partial: true });
    count.deadline = performance.now() + this.#boundMs;
    return new Promise(resolve => {
      count.done = resolve;
      this.#settle(number, count);
      this.#schedule(this.#boundMs);
    });
  }

  /** These are the nodes that there are: others are not waited for any more. */
  keepOnly(nodes: ReadonlySet<string>): void {
    for (const node of this.#silent) if (!nodes.has(node)) this.#silent.delete(node);
    for (const [number, count] of this.#open) {
      for (const node of count.waiting) if (!nodes.has(node)) count.waiting.delete(node);
      this.#settle(number, count);
    }
  }

  /** Resolves when nothing is counted any more: no later than the bound, once nothing new begins. */
  async idle(): Promise<void> {
    while (this.#open.size > 0)
      await new Promise<void>(resolve => {
        this.#onEmpty = resolve;
      });
    clearTimeout(this.#timer);
  }

  #settle(number: number, count: Count): void {
    if (count.waiting.size === 0) this.#end(number, count);
  }

  #end(number: number, count: Count): void {
    if (count.done === undefined) return;
    this.forget(number);
    count.done({ connections: count.connections, partial: count.partial || count.waiting.size > 0 });
  }

  /** Waits for a node no longer, for whichever entry, until it speaks again. */
  #giveUp(node: string): void {
    this.#silent.add(node);
    for (const [number, count] of this.#open) {
      if (!count.waiting.delete(node)) continue;
      count.partial = true;
      this.#settle(number, count);
    }
  }

  /** One timer for all: it looks at the oldest. */
  #schedule(milliseconds: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const now = performance.now();
      for (const [number, count] of this.#open) {
        if (count.deadline === undefined) continue;
        if (count.deadline > now) return this.#schedule(count.deadline - now);
        for (const node of count.waiting) this.#giveUp(node);
        this.#end(number, count);
      }
    }, milliseconds);
  }
}
