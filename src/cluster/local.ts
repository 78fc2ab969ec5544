import type { Logger } from 'pino';
import type { Answers, Cluster, Handler } from './cluster.js';
import { Handlers } from './handlers.js';

/** One node, and nobody else. */
export class LocalCluster implements Cluster {
  readonly #handlers: Handlers;

  constructor(log: Logger) {
    this.#handlers = new Handlers(log);
  }

  async start(): Promise<void> {}

  async ask(topic: string, body: string): Promise<Answers> {
    const answer = await this.#handlers.answer(topic, body);
    return { answers: answer === undefined ? [] : [answer], partial: answer === undefined };
  }

  handle(topic: string, handler: Handler): void {
    this.#handlers.set(topic, handler);
  }

  async stop(): Promise<void> {}
}
