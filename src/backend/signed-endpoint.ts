import type { OutgoingHttpHeaders } from 'node:http';
import type { Clock } from '../model/clock.js';
import { Backend, type Reply } from './backend.js';
import { signedHeaders } from './signature.js';

/** One address of a backend that gets signed JSON. */
export class SignedEndpoint {
  readonly #backend: Backend;
  readonly #key: Buffer;
  readonly #version: string;
  readonly #clock: Clock;

  constructor(
    options: ConstructorParameters<typeof Backend>[0] & {
      /** The key of the signatures. */
      key: Buffer;
      /** This server's version, for the header `User-Agent`. */
      version: string;
      clock: Clock;
    },
  ) {
    const { key, version, clock, ...others } = options;
    this.#backend = new Backend(others);
    this.#key = key;
    this.#version = version;
    this.#clock = clock;
  }

  /**
   * Posts a JSON text. Never rejects, and always ends.
   * @param id names the request; a repeated request has the same
   */
  post(id: string, body: string, headers: OutgoingHttpHeaders = {}): Promise<Reply> {
    const seconds = Math.floor(this.#clock.now() / 1000);
    return this.#backend.ask(
      {
        'content-type': 'application/json',
        'user-agent': `Postroom/${this.#version}`,
        ...headers,
        ...signedHeaders(this.#key, id, seconds, body),
      },
      body,
    );
  }

  /** Ends all requests, for this reason. */
  end(reason: string): void {
    this.#backend.end(reason);
  }

  /** Ends all requests, also later ones, and closes the connections. */
  stop(): void {
    this.#backend.stop();
  }
}
