import type { After } from '../model/clock.js';
import type { Store } from '../storage/store.js';
import { keyOf, type Session } from './session.js';

const RETRY_MS = 1000;

/** The open connections of this node, in a store. What cannot be stored now is tried again until it is. */
export class OpenSessions {
  readonly #options: OpenSessionsOptions;
  /** What is not stored yet, by key. Undefined: to be removed. */
  readonly #wanted = new Map<string, Session | undefined>();
  #isRetrying = false;
  #isStopped = false;

  constructor(options: OpenSessionsOptions) {
    this.#options = options;
  }

  put(session: Session): void {
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

  /** Tries once more. Resolves to whether everything is stored. */
  async stop(): Promise<boolean> {
    this.#isStopped = true;
    await this.#writeAll();
    return this.#wanted.size === 0;
  }

  #set(connection: string, session: Session | undefined): void {
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

interface OpenSessionsOptions {
  readonly store: Store<Session>;
  readonly node: string;
  readonly after: After;
  /** Told of the first of several failures in a row. */
  readonly failed: (error: unknown) => void;
}
