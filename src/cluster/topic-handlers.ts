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

  /** The answer of the topic's handler; undefined if there is no handler, or if it fails. */
  async call(topic: string, body: string, from: string): Promise<string | undefined> {
    try {
      return await this.#handlers.get(topic)?.(body, from);
    } catch (error) {
      this.#log.error({ err: error, topic }, 'a message of a node could not be handled');
      return undefined;
    }
  }
}
