import { mkdir } from 'node:fs/promises';
import { reasonOf } from '../model/reason.js';
import { StartError } from '../model/start-error.js';
import { type Lock, lockDirectory } from './lock.js';

/** `DATA_DIR`: one process at a time works in it. All files of a process in it share one lock. */
export class DataDirectory {
  readonly path: string;
  #users = 0;
  #lock: Promise<Lock> | undefined;
  /** Resolves when the earlier lock is released. */
  #released: Promise<void> = Promise.resolve();

  /** @param path is made if it is not there */
  constructor(path: string) {
    this.path = path;
  }

  /**
   * Begins to use the directory. Each call needs a `release`. Rejects with a StartError if it is in use or not
   * writable.
   */
  async use(): Promise<void> {
    this.#users++;
    this.#lock ??= this.#released.then(() => this.#take());
    try {
      await this.#lock;
    } catch (error) {
      await this.release();
      throw error;
    }
  }

  async release(): Promise<void> {
    if (--this.#users > 0) return;
    const lock = this.#lock?.catch(() => undefined);
    this.#lock = undefined;
    this.#released = Promise.resolve(lock).then(held => held?.release());
    await this.#released;
  }

  async #take(): Promise<Lock> {
    try {
      await mkdir(this.path, { recursive: true });
      return await lockDirectory(this.path);
    } catch (cause) {
      // An error of the system has a code; an error of the lock has none.
      const isRefusal = typeof cause === 'object' && cause !== null && 'code' in cause;
      if (!isRefusal) throw cause;
      if (cause.code === 'EEXIST' || cause.code === 'ENOTDIR')
        throw new StartError(`${this.path} is a file, not a directory; choose another DATA_DIR.`, { cause });
      throw new StartError(
        `The directory ${this.path} cannot be written (${reasonOf(cause)}); give this user the right to, or choose another DATA_DIR.`,
        { cause },
      );
    }
  }
}
