import { Backend } from '../backend/backend.js';
import { signedHeaders } from '../backend/signature.js';
import type { After, Clock } from '../model/clock.js';

/** PHP, as it gets webhooks. */
export class Receiver {
  readonly #backend: Backend;
  readonly #key: Buffer;
  readonly #version: string;
  readonly #clock: Clock;

  constructor(options: {
    url: string;
    /** The key of the signatures. */
    key: Buffer;
    version: string;
    /** For the whole request. */
    timeoutMs: number;
    clock: Clock;
    after: After;
  }) {
    const { url, timeoutMs, after } = options;
    const others = { name: 'WEBHOOK_URL', maxIdle: 1, maxBytes: 0, isRepeatable: false };
    this.#backend = new Backend({ url, timeoutMs, after, ...others });
    this.#key = options.key;
    this.#version = options.version;
    this.#clock = options.clock;
  }

  /** Posts a signed JSON text. Resolves when PHP has answered 2xx; rejects with a sentence if it did not. */
  async post(id: string, body: string): Promise<void> {
    const seconds = Math.floor(this.#clock.now() / 1000);
    const { status, broken } = await this.#backend.ask(
      {
        'content-type': 'application/json',
        'user-agent': `Postroom/${this.#version}`,
        ...signedHeaders(this.#key, id, seconds, body),
      },
      body,
    );
    if (status === undefined) throw new Error(broken);
    if (status >= 200 && status < 300) return;
    const hint = status >= 300 && status < 400 ? ' Redirects are not followed.' : '';
    throw new Error(`WEBHOOK_URL answered ${status}.${hint}`);
  }

  /** Ends a request that is under way: `post` rejects. */
  end(reason: string): void {
    this.#backend.end(reason);
  }

  stop(): void {
    this.#backend.stop();
  }
}
