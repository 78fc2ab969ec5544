import { SignedEndpoint } from '../backend/signed-endpoint.js';
import type { After, Clock } from '../model/clock.js';

/** The answer had a status that does not take a request. */
export class WrongStatus extends Error {
  readonly status: number;

  constructor(status: number) {
    const hint = status >= 300 && status < 400 ? ' Redirects are not followed.' : '';
    super(`WEBHOOK_URL answered ${status}.${hint}`);
    this.status = status;
  }
}

/** The backend, as it gets webhooks. */
export class Receiver {
  readonly #endpoint: SignedEndpoint;

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
    const others = { name: 'WEBHOOK_URL', maxIdle: 1, maxBytes: 0, isRepeatable: false };
    this.#endpoint = new SignedEndpoint({ ...options, ...others });
  }

  /** Posts a JSON text. Resolves when it was answered with 2xx; rejects with a sentence if it was not. */
  async post(id: string, body: string): Promise<void> {
    const { status, broken } = await this.#endpoint.post(id, body);
    if (status === undefined) throw new Error(broken);
    if (status < 200 || status >= 300) throw new WrongStatus(status);
  }

  /** Ends a request that is under way: `post` rejects. */
  end(reason: string): void {
    this.#endpoint.end(reason);
  }

  stop(): void {
    this.#endpoint.stop();
  }
}
