import type { Logger } from 'pino';
import { z } from 'zod';
import { pause } from '../model/pause.js';
import { reasonOf } from '../model/reason.js';
import { openRedis, type RedisClient } from '../redis/client.js';
import type { Answers, Cluster, Handler } from './cluster.js';
import { Handlers } from './handlers.js';

// A question that is not sent by then is not asked.
const COMMAND_TIMEOUT_MS = 2000;
// A node that cannot be asked by then starts all the same: it serves its clients.
const START_MS = 2000;

export interface RedisClusterOptions {
  readonly url: string;
  /** What its channels begin with: who has the same one is of the same cluster. */
  readonly prefix: string;
  /** This node's name, and those of all that are there now. */
  readonly node: string;
  readonly nodes: () => readonly string[];
  /** Aborted when the server is to stop, also while it still starts. */
  readonly stopping: AbortSignal;
  readonly log: Logger;
}

type Message = z.output<typeof Message>;
const Message = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('question'),
    from: z.string(),
    number: z.number(),
    topic: z.string(),
    body: z.string(),
  }),
  z.object({ kind: z.literal('answer'), from: z.string(), number: z.number(), body: z.string() }),
]);

/** A question of ours that is not answered by all yet. */
interface Asked {
  readonly waiting: Set<string>;
  readonly answers: string[];
  readonly done: () => void;
}

/** Nodes that talk over Redis Pub/Sub: what is lost on the way makes an answer partial, which says so. */
export class RedisCluster implements Cluster {
  readonly #options: RedisClusterOptions;
  readonly #handlers: Handlers;
  readonly #commands: RedisClient;
  readonly #listener: RedisClient;
  readonly #asked = new Map<number, Asked>();
  readonly #everybody: string;
  #numbers = 0;
  #isStopped = false;
  #isSubscribed = false;
  /** Told once, until it works again. */
  #isInTrouble = false;
  #subscribed: (() => void) | undefined;

  constructor(options: RedisClusterOptions) {
    const { url, prefix, log } = options;
    this.#options = options;
    this.#handlers = new Handlers(log);
    this.#everybody = `{${prefix}}:cluster`;
    const lost = (error: unknown) => this.#failed(error);
    this.#commands = openRedis(
      url,
      `${prefix}:cluster`,
      { ready: () => undefined, lost },
      COMMAND_TIMEOUT_MS,
    );
    this.#listener = openRedis(url, `${prefix}:cluster:listener`, {
      ready: () => void this.#subscribe(),
      lost,
    });
    this.#listener.on('message', (_channel: string, text: string) => void this.#hear(text));
  }

  async start(): Promise<void> {
    if (this.#isSubscribed) return;
    const waited = new AbortController();
    this.#subscribed = () => waited.abort();
    await pause(START_MS, AbortSignal.any([waited.signal, this.#options.stopping]));
  }

  async ask(topic: string, body: string, withinMs: number): Promise<Answers> {
    const { node, nodes } = this.#options;
    const number = this.#numbers++;
    const waiting = new Set(nodes()).add(node);
    const answers: string[] = [];
    const answered = new Promise<void>(resolve => {
      const timer = setTimeout(resolve, withinMs);
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#asked.set(number, { waiting, answers, done });
    });
    const own = this.#handlers.answer(topic, body).then(answer => this.#note(number, node, answer));
    if (waiting.size > 1)
      void this.#send(this.#everybody, { kind: 'question', from: node, number, topic, body });
    await Promise.all([answered, own]);
    this.#asked.delete(number);
    return { answers, partial: waiting.size > 0 };
  }

  handle(topic: string, handler: Handler): void {
    this.#handlers.set(topic, handler);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#commands.disconnect();
    this.#listener.disconnect();
  }

  async #subscribe(): Promise<void> {
    try {
      await this.#listener.subscribe(this.#everybody, this.#channelOf(this.#options.node));
      this.#isSubscribed = true;
      this.#isInTrouble = false;
      this.#subscribed?.();
    } catch (error) {
      this.#failed(error);
    }
  }

  async #hear(text: string): Promise<void> {
    const message = parse(text);
    // Somebody else's.
    if (message === undefined) return;
    const { node } = this.#options;
    if (message.from === node) return;
    if (message.kind === 'answer') return this.#note(message.number, message.from, message.body);
    const body = await this.#handlers.answer(message.topic, message.body);
    if (body === undefined) return;
    await this.#send(this.#channelOf(message.from), {
      kind: 'answer',
      from: node,
      number: message.number,
      body,
    });
  }

  #note(number: number, node: string, answer: string | undefined): void {
    const asked = this.#asked.get(number);
    if (asked === undefined || answer === undefined || !asked.waiting.delete(node)) return;
    asked.answers.push(answer);
    if (asked.waiting.size === 0) asked.done();
  }

  async #send(channel: string, message: Message): Promise<void> {
    try {
      await this.#commands.publish(channel, JSON.stringify(message));
      this.#isInTrouble = false;
    } catch (error) {
      this.#failed(error);
    }
  }

  #channelOf(node: string): string {
    return `${this.#everybody}:${node}`;
  }

  #failed(error: unknown): void {
    if (this.#isStopped || this.#isInTrouble) return;
    this.#isInTrouble = true;
    this.#options.log.warn(
      { reason: reasonOf(error) },
      'this node cannot talk to the other nodes over Redis',
    );
  }
}

function parse(text: string): Message | undefined {
  try {
    return Message.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
