/** A node of an installation. */
export interface ClusterNode {
  readonly node: string;
  /** The node's report about itself. */
  readonly report: string;
}

/** The answers to a question, including this node's own. */
export interface Answers {
  readonly answers: readonly string[];
  /** Some nodes did not answer in time. */
  readonly partial: boolean;
}

/**
 * Handles a message or a question of a node. The result is the answer. Without a result, or with an error, a question
 * has no answer.
 * @param from the node that sends it
 */
export type Handler = (body: string, from: string) => string | undefined | Promise<string | undefined>;

/** The nodes of one installation. They send each other texts; only the handlers know what the texts mean. */
export interface Cluster {
  /** This node's name. */
  readonly node: string;

  /** Joins. Resolves when all other nodes know this node, or after some seconds if that is not possible. */
  start(): Promise<void>;

  /** The nodes that are alive, including this one. A node that died stays in the list for some seconds. */
  nodes(): readonly ClusterNode[];

  /** Sends a message to all other nodes, or to one: in order, at most once. A message can get lost. */
  tell(topic: string, body: string, node?: string): void;

  /**
   * Asks all nodes, this one too. Resolves when all have answered; after so many milliseconds it waits only for this
   * one. Never rejects.
   */
  ask(topic: string, body: string, withinMs: number): Promise<Answers>;

  /** Sets the handler of a topic. A topic has one handler. */
  handle(topic: string, handler: Handler): void;

  /** Leaves. Idempotent. */
  stop(): Promise<void>;
}
