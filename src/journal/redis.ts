import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { compareMoments, type Id, type Moment } from '../model/id.js';
import type { Entry, Notification } from '../model/notification.js';
import { pause } from '../model/pause.js';
import { type Problem, unavailable } from '../model/problem.js';
import { reasonOf } from '../model/reason.js';
import { type Retention, weigh } from '../model/retention.js';
import { StartError } from '../model/start-error.js';
import { openRedis, type RedisClient, untilReady } from '../redis/client.js';
import { requireSameTarget } from './duplicate.js';
import { Gathering, turnEnd } from './gathering.js';
import type { Appended, Follower, Journal, JournalStatus, NodeStatus } from './journal.js';
import { entryOf, type Fields, momentOf, packed, type StreamEntry } from './redis-entry.js';
import { Peers } from './redis-peers.js';
import { APPEND, BEAT } from './redis-scripts.js';
import { unpack } from './stored.js';

const BEAT_MS = 1000;
// After so long without a beat a node is not waited for any more.
const GONE_MS = 3500;
// An append that is not answered by then is refused.
const COMMAND_TIMEOUT_MS = 2000;
const BLOCK_MS = 1000;
// A node that has failed to read for so long takes nothing.
const DEAF_MS = 3000;
const PAUSE_MS = 100;
const PAGE = 500;
// Entries, and bytes, appended in one call: Redis does nothing else meanwhile.
const MAX_GROUP = 256;
const MAX_GROUP_BYTES = 512 * 1024;
const RETRY_AFTER_SECONDS = 2;
const APPEND_SHA = createHash('sha1').update(APPEND).digest('hex');

type Reply = readonly (readonly [id: string, fields: Fields])[];

export interface RedisJournalOptions {
  readonly url: string;
  /** What its keys begin with: who has the same one shares the journal. */
  readonly prefix: string;
  readonly retention: Retention;
  /** This node's name. */
  readonly node: string;
  /** How many connections this node has. */
  readonly connections: () => number;
  /** Aborted when the server is to stop, also while it still waits for Redis. */
  readonly stopping: AbortSignal;
  readonly log: Logger;
}

/** What Redis made of an entry. */
interface Result {
  readonly id: Id;
  /** The fields of the first with the same key; undefined where there was none. */
  readonly first: string | undefined;
}

/** What goes to Redis in one call. */
interface Group {
  readonly notifications: Notification[];
  readonly numbers: number[];
  bytes: number;
  readonly results: Promise<Result[]>;
  /** Tells that it takes no more. */
  readonly fill: () => void;
}

/**
 * A Redis stream that many nodes follow: what one appends all deliver, in one order. Ids are those that Redis gives.
 * As durable as Redis is set to be. A node whose connection breaks reads on where it stood.
 */
export class RedisJournal implements Journal {
  readonly kind = 'redis';
  readonly #options: RedisJournalOptions;
  readonly #keys: readonly [entries: string, keys: string, state: string, nodes: string];
  /** The milliseconds, and the bytes, that entries are kept. */
  readonly #limits: readonly [milliseconds: number, bytes: number];
  /** For what is answered at once; the reader blocks, and the listener hears how many connections others reached. */
  readonly #commands: RedisClient;
  readonly #reader: RedisClient;
  readonly #listener: RedisClient;
  readonly #peers: Peers;
  readonly #closing = new AbortController();
  #follower: Follower | undefined;
  #group: Group | undefined;
  /** What this node appended and has not delivered yet, by its number. */
  readonly #own = new Map<number, Notification>();
  #numbers = 0;
  /** Calls that failed. */
  #failures = 0;
  readonly #gathering = new Gathering();
  /** When the group that was sent last is answered. */
  #answered: Promise<unknown> = Promise.resolve();
  #appending: Promise<unknown> = Promise.resolve();
  /** The newest entry delivered. */
  #last: Moment & { readonly id: Id } = { id: '0-0', time: 0, sequence: 0 };
  #available = false;
  /** The journal's time, and when Redis told it, in milliseconds of the clock `performance.now`. */
  #clock = { time: 0, heard: 0 };
  #time = 0;
  #asking: Promise<Id> | undefined;
  #lagMs = 0;
  #isInTrouble = false;
  /** Since when reading goes wrong, of the clock `performance.now`. */
  #failingSince: number | undefined;
  /** Since when there is something newer than what was delivered, of the clock `performance.now`. */
  #behindSince: number | undefined;
  #beating: Promise<void> | undefined;
  #following: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: RedisJournalOptions) {
    const { url, prefix } = options;
    this.#options = options;
    const name = (part: string) => `{${prefix}}:journal:${part}`;
    this.#keys = [name('entries'), name('keys'), name('state'), name('nodes')];
    this.#limits = [options.retention.seconds * 1000, options.retention.bytes];
    this.#peers = new Peers(options.node, node => name(`counts:${node}`));
    const ready = () => undefined;
    const failed = (error: unknown) => this.#failed(error);
    const refuse = (error: unknown) => this.#refuse(error);
    this.#commands = openRedis(url, `${prefix}:journal`, { ready, lost: refuse }, COMMAND_TIMEOUT_MS);
    this.#reader = openRedis(url, `${prefix}:journal:reader`, { ready, lost: failed });
    this.#listener = openRedis(url, `${prefix}:journal:listener`, {
      ready: () => void this.#peers.listen(this.#listener).catch(failed),
      lost: failed,
    });
    this.#listener.on('message', (_channel: string, report: string) => this.#peers.hear(report));
  }

  async append(notification: Notification): Promise<Appended> {
    if (!this.#takes) throw refusal();
    const number = this.#numbers++;
    this.#group ??= this.#newGroup();
    const { results } = this.#group;
    const place = this.#group.numbers.push(number) - 1;
    this.#group.notifications.push(notification);
    this.#group.bytes += weigh(notification);
    this.#own.set(number, notification);
    this.#peers.begin(number);
    if (place + 1 >= MAX_GROUP || this.#group.bytes >= MAX_GROUP_BYTES) {
      this.#group.fill();
      this.#group = undefined;
    }
    try {
      const result = (await results)[place];
      if (result === undefined) throw new Error('Redis answered for fewer entries than it was given');
      const { id, first } = result;
      if (first === undefined) return { id, duplicate: false, ...(await this.#peers.total(number)) };
      requireSameTarget(notification, unpack(first, '', ''), id);
      return { id, duplicate: true, connections: 0, partial: false };
    } finally {
      this.#peers.forget(number);
      this.#own.delete(number);
    }
  }

  async follow(follower: Follower): Promise<Id> {
    const started = performance.now();
    this.#follower = follower;
    const floor = await this.#insist(() => this.#beat());
    this.#last = momentOf(floor);
    const loaded = await this.#insist(() => this.#load());
    this.#following = this.#follow();
    // Until the others have heard of us they would not wait for what we tell.
    if (this.#peers.nodes.length > 1) await pause(BEAT_MS + PAUSE_MS, this.#options.stopping);
    this.#beating = this.#beatOn();
    this.#available = true;
    const milliseconds = Math.round(performance.now() - started);
    this.#options.log.info(
      { node: this.#peers.node, nodes: this.#peers.nodes.length, entries: loaded, milliseconds },
      'journal loaded',
    );
    return floor;
  }

  now(): number {
    const { time, heard } = this.#clock;
    this.#time = Math.max(this.#time, Math.floor(time + performance.now() - heard));
    return this.#time;
  }

  newest(): Promise<Id> {
    const [, , state] = this.#keys;
    this.#asking ??= this.#commands
      .hget(state, 'last')
      .then(last => momentOf(last ?? '0-0').id)
      .finally(() => {
        this.#asking = undefined;
      });
    return this.#asking;
  }

  status(): JournalStatus {
    return { available: this.#takes, lagMs: this.#lagMs, nodes: this.#peers.nodes };
  }

  /** Not while nobody here would hear what is appended. */
  get #takes(): boolean {
    const isDeaf = this.#failingSince !== undefined && performance.now() - this.#failingSince > DEAF_MS;
    return this.#available && !isDeaf;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#available = false;
    await this.#appending;
    await this.#peers.idle();
    this.#closing.abort();
    // It only reads: what it waits for nobody needs.
    this.#reader.disconnect();
    await Promise.all([this.#beating, this.#following]);
    // The others see it with their next beat; without it they wait until we are gone for long.
    await this.#commands.hdel(this.#keys[3], this.#peers.node).catch(error => this.#failed(error));
    this.#commands.disconnect();
    this.#listener.disconnect();
  }

  /** Takes nothing more until a beat goes through again. */
  #refuse(error: unknown): void {
    this.#available = false;
    this.#failed(error);
  }

  #failed(error: unknown): void {
    if (this.#closing.signal.aborted) return;
    // Of an outage that three connections notice, the first word.
    if (this.#isInTrouble) return;
    this.#isInTrouble = true;
    this.#options.log.error(
      { reason: reasonOf(error) },
      'the journal cannot use Redis; what comes is refused until it can',
    );
  }

  /** Does something at the start, as soon as Redis is there, however long that takes. */
  async #insist<T>(task: () => Promise<T>): Promise<T> {
    const { stopping } = this.#options;
    for (;;) {
      await untilReady(this.#commands, stopping);
      if (stopping.aborted) throw new StartError('Postroom was told to stop while it waited for Redis.');
      try {
        return await task();
      } catch (error) {
        this.#failed(error);
        await pause(PAUSE_MS, stopping);
      }
    }
  }

  // ---- Appending

  /**
   * Takes in what is appended until the one before it is answered and those who append have gathered, or until it is
   * full. One small group after the other is faster than many at once: each entry then travels with more of its like.
   */
  #newGroup(): Group {
    const notifications: Notification[] = [];
    const numbers: number[] = [];
    const failures = this.#failures;
    let fill = () => {};
    const filled = new Promise<void>(resolve => {
      fill = resolve;
    });
    const ready = this.#answered.then(() => this.#gathering.settled(numbers));
    const results = Promise.race([ready, filled]).then(() => {
      if (this.#group === group) this.#group = undefined;
      // What was behind one that failed must not go before it when that is tried again.
      if (this.#failures !== failures) throw refusal();
      const sent = this.#send(notifications, numbers);
      this.#answered = sent.then(nothing, nothing);
      return sent;
    });
    const group: Group = { notifications, numbers, bytes: 0, results, fill };
    this.#appending = Promise.allSettled([this.#appending, results]);
    return group;
  }

  async #send(notifications: readonly Notification[], numbers: readonly number[]) {
    const words = notifications.flatMap((notification, place) => packed(numbers[place] ?? 0, notification));
    try {
      const [entries, keys, state] = this.#keys;
      const all = [this.#peers.node, ...this.#limits, ...words];
      const reply = await this.#commands.evalsha(APPEND_SHA, 3, entries, keys, state, ...all);
      if (!Array.isArray(reply)) throw new Error('Redis did not answer with a list');
      return numbers.map((_, place) => ({
        id: momentOf(String(reply[3 * place])).id,
        first: reply[3 * place + 1] === 1 ? String(reply[3 * place + 2]) : undefined,
      }));
    } catch (error) {
      this.#failures++;
      this.#refuse(error);
      throw refusal(error);
    }
  }

  /** Loads the script first: loading it later could reorder appends. */
  async #teach(): Promise<void> {
    const [entries, keys, state] = this.#keys;
    await this.#commands.eval(APPEND, 3, entries, keys, state, this.#peers.node, ...this.#limits);
  }

  // ---- Following

  /** Delivers what there is and was not delivered yet. Returns how many that were. */
  async #load(): Promise<number> {
    for (let loaded = 0; ; ) {
      const page = (await this.#commands.xrange(
        this.#keys[0],
        `(${this.#last.id}`,
        '+',
        'COUNT',
        PAGE,
      )) as Reply;
      for (const [id, fields] of page) this.#take(id, fields);
      loaded += page.length;
      if (page.length < PAGE) return loaded;
      await turnEnd();
    }
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    for (;;) {
      await untilReady(this.#reader, signal);
      if (signal.aborted) return;
      try {
        await this.#readNext();
        this.#failingSince = undefined;
      } catch (error) {
        this.#failingSince ??= performance.now();
        this.#failed(error);
        await pause(PAUSE_MS, signal);
      }
    }
  }

  async #readNext(): Promise<void> {
    const [entries] = this.#keys;
    const replies = await this.#reader.xread(
      'COUNT',
      PAGE,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      entries,
      this.#last.id,
    );
    for (const [id, fields] of (replies?.[0]?.[1] ?? []) as Reply) {
      const taken = this.#take(id, fields);
      if (taken !== undefined) this.#peers.reached(taken.entry, taken.connections);
    }
    this.#peers.tell(this.#commands).catch(error => this.#failed(error));
    // Asked for when these are written out, Redis answers with all that has come meanwhile: fewer, larger turns.
    await turnEnd();
  }

  /** Delivers the next entry. */
  #take(id: string, fields: Fields) {
    const entry = this.#read(id, fields);
    if (entry === undefined) return undefined;
    const { time, sequence, previous } = entry;
    if (previous !== this.#last.id) this.#passOver(momentOf(previous));
    this.#last = entry;
    // What this node appended itself it need not unpack.
    const own = entry.node === this.#peers.node ? this.#own.get(entry.number) : undefined;
    const notification = own ?? entry.notification;
    return { entry, connections: this.#deliver({ id: entry.id, time, sequence, notification }) };
  }

  /** Undefined for what somebody else has put into our stream: it is passed over. */
  #read(id: string, fields: Fields): StreamEntry | undefined {
    try {
      return entryOf(id, fields);
    } catch (error) {
      this.#last = momentOf(id);
      this.#options.log.error(
        { id, reason: reasonOf(error) },
        'the Redis journal has an entry that is none of ours',
      );
      return undefined;
    }
  }

  /** It is in the journal whatever happens now, and those behind it must not wait. */
  #deliver(entry: Entry): number {
    try {
      return this.#follower?.deliver(entry) ?? 0;
    } catch (error) {
      this.#options.log.error({ err: error, id: entry.id }, 'a notification could not be delivered');
      return 0;
    }
  }

  /** What comes next is behind this one: where that is newer than the newest here, all between is lost to this node. */
  #passOver(previous: Moment & { readonly id: Id }): void {
    // Redis may have forgotten some that were delivered here.
    if (compareMoments(previous, this.#last) <= 0) return;
    if (this.#following !== undefined)
      this.#options.log.error(
        { after: this.#last.id, until: previous.id },
        'this node was away for longer than the retention; its clients have to load their state anew',
      );
    this.#follower?.skipped(previous.id);
  }

  // ---- Signs of life

  async #beatOn(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#beat();
        if (this.#closed !== undefined) return;
        // Nothing else would be written to it, and so a dead network not be noticed.
        if (this.#listener.status === 'ready') this.#listener.ping().catch(error => this.#failed(error));
        if (this.#isInTrouble && this.#failingSince === undefined) {
          this.#isInTrouble = false;
          this.#options.log.info('the journal can use Redis again');
        }
        this.#available = true;
      } catch (error) {
        this.#refuse(error);
      }
      await pause(BEAT_MS, signal);
    }
  }

  async #beat(): Promise<Id> {
    const word = `${this.#options.connections()} ${this.#lagMs}`;
    if (!this.#available) await this.#teach();
    const words = [this.#peers.node, word, GONE_MS, ...this.#limits, this.#last.id, this.now()];
    const reply = await this.#commands.eval(BEAT, this.#keys.length, ...this.#keys, ...words);
    if (!Array.isArray(reply)) throw new Error('Redis did not answer with a list');
    const [newest, floor, time, ...nodes] = reply.map(String);
    this.#clock = { time: Number(time), heard: performance.now() };
    const isBehind =
      this.#following !== undefined && compareMoments(momentOf(String(newest)), this.#last) > 0;
    const now = performance.now();
    this.#behindSince = isBehind ? (this.#behindSince ?? now) : undefined;
    this.#lagMs = this.#behindSince === undefined ? 0 : Math.round(now - this.#behindSince);
    this.#peers.nodes = nodesOf(nodes);
    return momentOf(String(floor)).id;
  }
}

function refusal(cause?: unknown): Problem {
  return unavailable(
    'The journal cannot take it now: Redis is not reached. Try again with the same key.',
    RETRY_AFTER_SECONDS,
    cause,
  );
}

function nodesOf(words: readonly string[]): NodeStatus[] {
  const nodes: NodeStatus[] = [];
  for (let at = 0; at + 1 < words.length; at += 2) {
    // Another version may say more, or less.
    const [connections = 0, lagMs = 0] = (words[at + 1] ?? '').split(' ').map(word => Number(word) || 0);
    nodes.push({ node: words[at] ?? '', connections, lagMs });
  }
  return nodes;
}

function nothing(): void {}
