import type { After } from '../model/clock.js';
import type { Store } from '../storage/store.js';

const RETRY_MS = 1000;

/** A connection that is open. It is stored, so that its end is told also if its process dies. */
export interface OpenConnection {
  readonly connection: string;
  readonly user: string | null;
  readonly address: string;
  readonly protocol: string;
}

/** The key of a session in its store. */
export function keyOf(node: string, connection: string): string {
  return `${node} ${connection}`;
}

/** The keys of all connections of a node: from the first one up to the second, which is left out. */
export function keysOf(node: string): [from: string, to: string] {
  return [`${node} `, `${node}!`];
}

/** The open connections of this node, in a store. What cannot be stored now is tried again until it is. */
export class OpenConnections {
  readonly #options: OpenConnectionsOptions;
  /** What is not stored yet, by key. Undefined: to be removed. */
  readonly #wanted = new Map<string, OpenConnection | undefined>();
  #isRetrying = false;
  #isStopped = false;

  constructor(options: OpenConnectionsOptions) {
    this.#options = options;
  }

  put(session: OpenConnection): void {
    this.#set(session.connection, session);
  }

  /** The end of the connection has been told. */
  remove(connection: string): void {
    this.#set(connection, undefined);
  }

  /** Its end cannot be told. If the session is stored, that happens when this node is gone. */
  leave(connection: string): void {
    this.#wanted.delete(keyOf(this.#options.node, connection));
  }

  /** Tries once more to store everything. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#writeAll();
  }

  #set(connection: string, session: OpenConnection | undefined): void {
    const key = keyOf(this.#options.node, connection);
    this.#wanted.set(key, session);
    void this.#write(key);
  }

  async #write(key: string): Promise<void> {
    const { store, after, failed } = this.#options;
    const session = this.#wanted.get(key);
    try {
      await (session === undefined ? store.remove(key) : store.put(key, session));
      // Not if something else is wanted by now.
      if (this.#wanted.get(key) === session) this.#wanted.delete(key);
    } catch (error) {
      if (this.#isRetrying || this.#isStopped) return;
      this.#isRetrying = true;
      failed(error);
      const retry = async () => {
        await this.#writeAll();
        if (this.#wanted.size > 0 && !this.#isStopped) after(RETRY_MS, () => void retry());
        else this.#isRetrying = false;
      };
      after(RETRY_MS, () => void retry());
    }
  }

  async #writeAll(): Promise<void> {
    await Promise.all([...this.#wanted.keys()].map(key => this.#write(key)));
  }
}

interface OpenConnectionsOptions {
  readonly store: Store<OpenConnection>;
  readonly node: string;
  readonly after: After;
  /** Told of the first of several failures in a row. */
  readonly failed: (error: unknown) => void;
}
