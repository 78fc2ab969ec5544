import type { Request } from 'express';
import { Patterns } from '../../src/model/pattern.js';
import { memberResource } from '../../src/ops/control/members.js';
import type { Resource } from '../../src/ops/control/resource.js';
import { Network, VirtualNode } from '../support/virtual-cluster.js';
import { type Client, type Core, startCore, turn } from './fakes.js';

// A change goes over a few queues, each with a turn of its own.
const TURNS = 6;

export interface InstallationOptions {
  readonly graceMs?: number;
  readonly maxMembers?: number;
  readonly maxBufferedBytes?: number;
  readonly occupancy?: boolean;
  /** Called for each node that has started. */
  readonly added?: (node: InstalledNode) => void;
}

/** What a client knows of the members of one room, by the frames that it got. */
export interface View {
  /** Their `info` by user; undefined while the client is told only how many there are, or nothing. */
  members: Map<string, string> | undefined;
  count: number | undefined;
}

/** A client that follows who is in its presence rooms, as a page would. */
export class Page {
  readonly client: Client;
  readonly rooms = new Map<string, View>();
  /** Frames that did not fit to what the page knew. */
  readonly faults: string[] = [];
  readonly #postroom: Core['postroom'];
  #read = 0;

  constructor(core: Core, user: string | undefined, info: string | undefined) {
    this.#postroom = core.postroom;
    this.client = core.connect({ user, info });
  }

  get user(): string | undefined {
    return this.client.connection.user;
  }

  get isOpen(): boolean {
    return !this.client.connection.closed;
  }

  join(room: string): void {
    if (!this.isOpen || this.#postroom.isIn(this.client.connection, room)) return;
    this.#postroom.subscribe(this.client.connection, room);
    const told = this.#postroom.presence.listFor(this.client.connection, room);
    const members = told && [...told.told, ...(told.self === undefined ? [] : [told.self])];
    // As any `subscribed` it comes behind the frames that wait.
    const text = members?.map(({ user, info = '' }) => `${user} ${info}`.trim()).join(', ');
    const list = text === undefined ? '' : `members ${room} ${text}\n`;
    this.#postroom.send(this.client.connection, Buffer.from(`subscribed ${room}\n${list}`));
  }

  leave(room: string): void {
    if (!this.isOpen || !this.#postroom.isIn(this.client.connection, room)) return;
    this.#postroom.unsubscribe(this.client.connection, room);
    this.#postroom.send(this.client.connection, Buffer.from(`unsubscribed ${room}\n`));
  }

  /** A new token: with another `info`, or with a user where there was none. */
  identify(user: string | undefined, info: string | undefined): void {
    const chosen = this.user ?? user;
    if (chosen !== undefined) this.#postroom.identify(this.client.connection, chosen, info);
  }

  end(): void {
    this.#postroom.disconnect(this.client.connection, 'client');
  }

  /** The frames of the room's members since the last call. */
  read(): string[] {
    const frames = this.client.frames().slice(this.#read);
    this.#read += frames.length;
    for (const frame of frames) this.#take(frame);
    return frames;
  }

  #take(frame: string): void {
    const [type = '', room = '', ...words] = frame.split(' ');
    if (type === 'subscribed') this.rooms.set(room, { members: undefined, count: undefined });
    const view = this.rooms.get(room);
    if (view === undefined) return void this.faults.push(frame);
    const [user = '', info = ''] = words;
    const known = view.members?.has(user);
    const fits = {
      subscribed: true,
      unsubscribed: true,
      joined: known === false && user !== this.user,
      left: known === true && user !== this.user,
      changed: known === true,
      members: true,
      count: true,
    }[type];
    if (fits !== true) this.faults.push(frame);
    if (type === 'unsubscribed') this.rooms.delete(room);
    else if (type === 'left') view.members?.delete(user);
    else if (type === 'joined' || type === 'changed') view.members?.set(user, info);
    else if (type === 'count') Object.assign(view, { members: undefined, count: Number(user) });
    else if (type === 'members') view.members = listOf(words.join(' '));
  }
}

function listOf(text: string): Map<string, string> {
  const members = text.split(', ').filter(member => member !== '');
  return new Map(members.map(member => [member.split(' ')[0] ?? '', member.split(' ')[1] ?? '']));
}

/** One node with its pages. */
export interface InstalledNode {
  readonly cluster: VirtualNode;
  readonly core: Core;
  readonly pages: Page[];
  readonly members: Resource;
}

/** Some nodes with presence rooms (`p*`), in virtual time. */
export class Installation {
  readonly network = new Network();
  readonly nodes: InstalledNode[] = [];
  readonly #options: InstallationOptions;
  #numbers = 0;

  constructor(options: InstallationOptions = {}) {
    this.#options = options;
  }

  static async start(nodes: number, options: InstallationOptions = {}): Promise<Installation> {
    const installation = new Installation(options);
    for (let index = 0; index < nodes; index++) await installation.addNode();
    await installation.pass(2500);
    return installation;
  }

  async addNode(): Promise<InstalledNode> {
    const { graceMs = 3000, maxMembers = 1000, maxBufferedBytes = 1e6 } = this.#options;
    const report: () => string = () => core.postroom.nodeReport;
    const cluster: VirtualNode = new VirtualNode(this.network, `node${this.#numbers++}`, () =>
      // It is asked for before there is a core.
      core === undefined ? '' : report(),
    );
    let core: Core = undefined as unknown as Core;
    core = await startCore({
      cluster,
      maxBufferedBytes,
      clock: this.network.time.clock,
      after: cluster.after,
      presence: { rooms: new Patterns(['p*']), graceMs, maxMembers },
      occupancy: this.#options.occupancy ?? false,
    });
    const { inventory } = core.postroom;
    const node = { cluster, core, pages: [], members: memberResource({ cluster, inventory }) };
    this.nodes.push(node);
    this.#options.added?.(node);
    return node;
  }

  open(node: number, user: string | undefined, info?: string): Page {
    const { core, pages } = this.#node(node);
    const page = new Page(core, user, info);
    pages.push(page);
    return page;
  }

  /** The node ends without a word, and its connections with it. */
  async kill(node: number): Promise<void> {
    await this.#node(node).cluster.stop();
    this.nodes.splice(node, 1);
  }

  /** Lets time pass, and everything that happens in it happen. */
  async pass(milliseconds: number): Promise<void> {
    await settle();
    for (let left = milliseconds; left > 0; ) {
      left -= this.network.time.pass(left);
      await settle();
    }
  }

  /** The members of a room as a node knows them, by user. */
  membersOf(node: number, room: string): Record<string, string> {
    const members = [...this.#node(node).core.postroom.presence.membersOf(room)];
    return Object.fromEntries(members.map(({ user, info = '' }) => [user, info]).sort());
  }

  /** The members of a room as `GET /rooms/{room}/members` of a node tells them, by user. */
  async askMembers(node: number, room: string): Promise<Record<string, string>> {
    const request = { params: { room }, query: {} } as unknown as Request;
    const answer = await this.#node(node).members['/rooms/:room/members']?.get?.(request);
    const { members, partial } = answer as {
      members: { user: string; info: object | null }[];
      partial?: true;
    };
    if (partial) throw new Error('a node did not answer');
    return Object.fromEntries(
      members.map(({ user, info }) => [user, info === null ? '' : JSON.stringify(info)]),
    );
  }

  /** The users who are in a room by the connections that are open, sorted. */
  usersIn(room: string): string[] {
    const users = this.nodes.flatMap(({ pages, core }) =>
      pages
        .filter(({ isOpen, client }) => isOpen && core.postroom.isIn(client.connection, room))
        .flatMap(({ user }) => user ?? []),
    );
    return [...new Set(users)].sort();
  }

  #node(index: number): InstalledNode {
    const node = this.nodes[index];
    if (node === undefined) throw new Error(`there is no node ${index}`);
    return node;
  }
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < TURNS; turns++) await turn();
}
