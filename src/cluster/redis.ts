import type { Logger } from 'pino';
import { z } from 'zod';
import { pause } from '../model/pause.js';
import { reasonOf } from '../model/reason.js';
import { openRedis, type RedisClient } from '../redis/client.js';
import type { Answers, Cluster, ClusterNode, Handler } from './cluster.js';
import { Handlers } from './topic-handlers.js';

// A message that is not sent in this time is lost.
const COMMAND_TIMEOUT_MS = 2000;
// After this time a node starts even if it cannot hear the others: it can serve its clients.
const START_MS = 2000;
const HEARTBEAT_MS = 1000;
// A node without a heartbeat for so long is gone.
const GONE_MS = 3500;
// Longer than a heartbeat takes to arrive.
const ARRIVAL_MS = 100;

/**
 * The heartbeat of a node. KEYS[1]: a hash with the time and the report of each node. ARGV: the node, its report, the
 * milliseconds after which a silent node is gone. Returns the nodes that are alive, each with its report.
 */
const HEARTBEAT = `
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  -- Begins with HDEL: a full Redis refuses a script whose first write needs memory.
  redis.call('HDEL', KEYS[1], '')
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])
  local alive = {}
  local nodes = redis.call('HGETALL', KEYS[1])
  for at = 1, #nodes, 2 do
    local beaten, report = string.match(nodes[at + 1], '^(%d+) (.*)$')
    -- Or far in the future: then the clock of Redis was set back. A living node beats again at once.
    if not beaten or math.abs(now - beaten) > tonumber(ARGV[3]) then
      redis.call('HDEL', KEYS[1], nodes[at])
    else
      alive[#alive + 1] = nodes[at]
      alive[#alive + 1] = report
    end
  end
  return alive`;

export interface RedisClusterOptions {
  readonly url: string;
  /** Its channels begin with this. Nodes with the same prefix are one cluster. */
  readonly prefix: string;
  /** This node's name. */
  readonly node: string;
  /** This node's report about itself. */
  readonly report: () => string;
  /** Aborted when the server stops, even while it still starts. */
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
  z.object({ kind: z.literal('message'), from: z.string(), topic: z.string(), body: z.string() }),
]);

/** A question of this node that some nodes have not answered yet. */
interface Asked {
  readonly waiting: Set<string>;
  readonly answers: string[];
  readonly done: () => void;
}

/** Nodes that talk over Redis Pub/Sub. If a question gets lost, its answers are partial. */
export class RedisCluster implements Cluster {
  readonly node: string;
  readonly #options: RedisClusterOptions;
  readonly #handlers: Handlers;
  readonly #commands: RedisClient;
  readonly #listener: RedisClient;
  readonly #asked = new Map<number, Asked>();
  /** The channel of all nodes. */
  readonly #channel: string;
  readonly #nodesKey: string;
  readonly #stopping = new AbortController();
  readonly #subscribed = new AbortController();
  #nodes: readonly ClusterNode[];
  #numbers = 0;
  #beating: Promise<void> | undefined;
  /** An outage is logged once. */
  #isInTrouble = false;
  #stopped: Promise<void> | undefined;

  constructor(options: RedisClusterOptions) {
    const { url, prefix, node, log } = options;
    this.node = node;
    this.#options = options;
    this.#handlers = new Handlers(log);
    this.#channel = `{${prefix}}:cluster`;
    this.#nodesKey = `{${prefix}}:cluster:nodes`;
    this.#nodes = [{ node, report: '' }];
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
    const { stopping } = this.#options;
    await pause(START_MS, AbortSignal.any([this.#subscribed.signal, stopping]));
    await this.#beat();
    if (this.#nodes.length > 1) await pause(HEARTBEAT_MS + ARRIVAL_MS, stopping);
    this.#beating = this.#keepBeating();
  }

  nodes(): readonly ClusterNode[] {
    return this.#nodes;
  }

  tell(topic: string, body: string, node?: string): void {
    const channel = node === undefined ? this.#channel : this.#channelOf(node);
    void this.#send(channel, { kind: 'message', from: this.node, topic, body });
  }

  async ask(topic: string, body: string, withinMs: number): Promise<Answers> {
    const from = this.node;
    const number = this.#numbers++;
    const waiting = new Set(this.#nodes.map(({ node }) => node)).add(from);
    const answers: string[] = [];
    const answered = new Promise<void>(resolve => {
      const timer = setTimeout(resolve, withinMs);
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#asked.set(number, { waiting, answers, done });
    });
    void this.#handlers.call(topic, body, from).then(answer => this.#note(number, from, answer));
    if (waiting.size > 1) void this.#send(this.#channel, { kind: 'question', from, number, topic, body });
    await answered;
    this.#asked.delete(number);
    return { answers, partial: waiting.size > 0 };
  }

  handle(topic: string, handler: Handler): void {
    this.#handlers.set(topic, handler);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    await this.#beating;
    // Otherwise the others wait for our answers until we count as gone.
    await this.#commands.hdel(this.#nodesKey, this.node).catch(error => this.#failed(error));
    this.#commands.disconnect();
    this.#listener.disconnect();
  }

  async #keepBeating(): Promise<void> {
    const { signal } = this.#stopping;
    for (;;) {
      await pause(HEARTBEAT_MS, signal);
      if (signal.aborted) return;
      await this.#beat();
      // Nothing else is written on this connection, and without writes a dead network is not noticed.
      if (this.#listener.status === 'ready') this.#listener.ping().catch(error => this.#failed(error));
    }
  }

  async #beat(): Promise<void> {
    try {
      const report = this.#options.report();
      const reply = await this.#commands.eval(HEARTBEAT, 1, this.#nodesKey, this.node, report, GONE_MS);
      if (!Array.isArray(reply)) throw new Error('Redis did not answer with a list');
      this.#nodes = nodesOf(reply.map(String));
      // The listener has a connection of its own, which may still be broken.
      if (this.#listener.status === 'ready') this.#isInTrouble = false;
    } catch (error) {
      this.#failed(error);
    }
  }

  async #subscribe(): Promise<void> {
    try {
      await this.#listener.subscribe(this.#channel, this.#channelOf(this.node));
      this.#subscribed.abort();
    } catch (error) {
      this.#failed(error);
    }
  }

  async #hear(text: string): Promise<void> {
    const message = parse(text);
    // It is another program's, or our own.
    if (message === undefined || message.from === this.node) return;
    const { kind, from } = message;
    if (kind === 'answer') return this.#note(message.number, from, message.body);
    const answer = await this.#handlers.call(message.topic, message.body, from);
    if (kind === 'message' || answer === undefined) return;
    const { number } = message;
    await this.#send(this.#channelOf(from), { kind: 'answer', from: this.node, number, body: answer });
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
    } catch (error) {
      this.#failed(error);
    }
  }

  #channelOf(node: string): string {
    return `${this.#channel}:${node}`;
  }

  #failed(error: unknown): void {
    if (this.#stopping.signal.aborted || this.#isInTrouble) return;
    this.#isInTrouble = true;
    this.#options.log.warn(
      { reason: reasonOf(error) },
      'this node cannot talk to the other nodes over Redis',
    );
  }
}

/** @param reply a name, its report, the next name, … */
function nodesOf(reply: readonly string[]): ClusterNode[] {
  const nodes: ClusterNode[] = [];
  for (let index = 0; index + 1 < reply.length; index += 2)
    nodes.push({ node: reply[index] ?? '', report: reply[index + 1] ?? '' });
  return nodes;
}

function parse(text: string): Message | undefined {
  try {
    return Message.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
