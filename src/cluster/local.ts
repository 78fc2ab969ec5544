import type { Logger } from 'pino';
import type { Answers, Cluster, ClusterNode, Handler } from './cluster.js';
import { Handlers } from './topic-handlers.js';

/** A cluster of one node. */
export class LocalCluster implements Cluster {
  readonly node: string;
  readonly #report: () => string;
  readonly #handlers: Handlers;

  constructor({ node, report, log }: { node: string; report: () => string; log: Logger }) {
    this.node = node;
    this.#report = report;
    this.#handlers = new Handlers(log);
  }

  async start(): Promise<void> {}

  nodes(): readonly ClusterNode[] {
    return [{ node: this.node, report: this.#report() }];
  }

  tell(): void {}

  async ask(topic: string, body: string): Promise<Answers> {
    const answer = await this.#handlers.call(topic, body, this.node);
    return { answers: answer === undefined ? [] : [answer], partial: answer === undefined };
  }

  handle(topic: string, handler: Handler): void {
    this.#handlers.set(topic, handler);
  }

  async stop(): Promise<void> {}
}
