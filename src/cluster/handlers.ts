import type { Logger } from 'pino';
import type { Handler } from './cluster.js';

/** The handlers of this node by topic. */
export class Handlers {
  readonly #handlers = new Map<string, Handler>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  set(topic: string, handler: Handler): void {
    this.#handlers.set(topic, handler);
  }

  /** What the topic's handler answers; undefined if there is none, or it fails. */
  async call(topic: string, body: string, from: string): Promise<string | undefined> {
    try {
      return await this.#handlers.get(topic)?.(body, from);
    } catch (error) {
      this.#log.error({ err: error, topic }, 'a message of a node could not be handled');
      return undefined;
    }
  }
}
