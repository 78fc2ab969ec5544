import type { Logger } from 'pino';
import type { Handler } from './cluster.js';

/** Who answers what on this node. */
export class Handlers {
  readonly #handlers = new Map<string, Handler>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  set(topic: string, handler: Handler): void {
    this.#handlers.set(topic, handler);
  }

  /** This node's answer; undefined where it has none. */
  async answer(topic: string, body: string): Promise<string | undefined> {
    try {
      return await this.#handlers.get(topic)?.(body);
    } catch (error) {
      this.#log.error({ err: error, topic }, 'a question of a node could not be answered');
      return undefined;
    }
  }
}
