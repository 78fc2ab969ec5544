import type { After } from './clock.js';

/** Does something again and again, with the same pause in between. */
export class Repeated {
  readonly #pauseMs: number;
  readonly #after: After;
  readonly #run: () => Promise<void>;
  readonly #failed: (error: unknown) => void;
  #isStopped = false;
  #running: Promise<void> = Promise.resolve();

  /** @param parts.failed told of each run that rejects; the next one comes all the same */
  constructor(parts: {
    pauseMs: number;
    after: After;
    run: () => Promise<void>;
    failed: (error: unknown) => void;
  }) {
    this.#pauseMs = parts.pauseMs;
    this.#after = parts.after;
    this.#run = parts.run;
    this.#failed = parts.failed;
  }

  /** The first run comes after a pause. */
  start(): void {
    this.#after(this.#pauseMs, () => {
      if (this.#isStopped) return;
      this.#running = this.#run()
        .catch(this.#failed)
        .then(() => this.start());
    });
  }

  /** Resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }
}
