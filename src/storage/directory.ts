import { mkdir } from 'node:fs/promises';
import { reasonOf } from '../model/reason.js';
import { StartError } from '../model/start-error.js';
import { type Lock, lockDirectory } from './lock.js';

/** `DATA_DIR`: one process at a time works in it. All of a process's files in it share one lock. */
export class DataDirectory {
  readonly path: string;
  #users = 0;
  #lock: Promise<Lock> | undefined;

  /** @param path is made if it is not there */
  constructor(path: string) {
    this.path = path;
  }

  /** Begins to use it; each call needs a `release`. Rejects with a StartError if it is in use or cannot be written. */
  async use(): Promise<void> {
    this.#users++;
    this.#lock ??= this.#take();
    try {
      await this.#lock;
    } catch (error) {
      await this.release();
      throw error;
    }
  }

  async release(): Promise<void> {
    if (--this.#users > 0) return;
    const lock = await this.#lock?.catch(() => undefined);
    this.#lock = undefined;
    await lock?.release();
  }

  async #take(): Promise<Lock> {
    try {
      await mkdir(this.path, { recursive: true });
      return await lockDirectory(this.path);
    } catch (cause) {
      // What the system refused has a code; what the lock says of itself has none.
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
