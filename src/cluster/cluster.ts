/** A node of an installation. */
export interface ClusterNode {
  readonly node: string;
  /** What it reports of itself. */
  readonly report: string;
}

/** The answers to a question, this node's own among them. */
export interface Answers {
  readonly answers: readonly string[];
  /** Not every node answered in time. */
  readonly partial: boolean;
}

/**
 * Takes what a node tells or asks. What it returns is the answer to a question; nothing, or an error, is no answer.
 * @param from the node that tells or asks
 */
export type Handler = (body: string, from: string) => string | undefined | Promise<string | undefined>;

/** The nodes of one installation, and how they talk to each other. It does not know what they talk about. */
export interface Cluster {
  /** This node's name. */
  readonly node: string;

  /** Joins. Resolves when all other nodes know of this one, or after a while where that cannot be. */
  start(): Promise<void>;

  /** The nodes that are alive, this one among them. One that died stays for some seconds. */
  nodes(): readonly ClusterNode[];

  /** Tells all other nodes, or one of them. In order, at most once: a message can be lost. */
  tell(topic: string, body: string, node?: string): void;

  /** Asks all nodes, this one too. Resolves when all have answered, or after so many milliseconds; never rejects. */
  ask(topic: string, body: string, withinMs: number): Promise<Answers>;

  /** Sets the handler of a topic; there is one each. */
  handle(topic: string, handler: Handler): void;

  /** Leaves. Idempotent. */
  stop(): Promise<void>;
}
