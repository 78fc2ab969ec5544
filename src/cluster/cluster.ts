/** What the other nodes answered to a question, this one's own answer among them. */
export interface Answers {
  readonly answers: readonly string[];
  /** Not every node answered in time. */
  readonly partial: boolean;
}

/** Answers a question. What goes wrong in it counts as no answer. */
export type Handler = (body: string) => string | Promise<string>;

/** The nodes of one installation, as they talk to each other. It knows nothing of what about. */
export interface Cluster {
  /** Resolves when questions can be asked and are answered; after a while also where they cannot. */
  start(): Promise<void>;

  /** Asks all nodes, this one too. Resolves when all have answered, or after so many milliseconds; never rejects. */
  ask(topic: string, body: string, withinMs: number): Promise<Answers>;

  /** Answers what is asked about a topic, from now on. One handler each. */
  handle(topic: string, handler: Handler): void;

  /** Hears and answers nothing more. Idempotent. */
  stop(): Promise<void>;
}
