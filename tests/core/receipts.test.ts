import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Postroom, type Receipt } from '../../src/core/postroom.js';
import type { Appended, Follower, Journal } from '../../src/journal/journal.js';
import { MemoryJournal } from '../../src/journal/memory.js';
import type { Address } from '../../src/model/address.js';
import type { Entry, Notification } from '../../src/model/notification.js';
import { PEER, PLAIN } from '../support/core.js';
import { Network, VirtualNode } from '../support/virtual-cluster.js';
import { FakeSocket, FakeWire, turn } from './fakes.js';

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

const TURNS = 6;
const MANY = 10_000;
const RETENTION_SECONDS = 100;
const START = 1_000_000;

/** The journal of all nodes. */
class SharedJournal {
  readonly followers: { readonly node: VirtualNode; readonly follower: Follower }[] = [];
  readonly entries: Entry[] = [];
  readonly #journal: MemoryJournal;

  constructor(network: Network) {
    const { clock } = network.time;
    this.#journal = new MemoryJournal({ seconds: RETENTION_SECONDS, bytes: 1e9 }, clock);
    void this.#journal.follow({
      deliver: entry => {
        const ours = { ...entry, node: this.#from };
        this.entries.push(ours);
        for (const { node, follower } of this.followers) if (network.nodes.has(node)) follower.deliver(ours);
      },
      skipped: () => undefined,
    });
  }

  #from = '';

  at(node: VirtualNode): Journal {
    return {
      kind: 'memory',
      append: (notification: Notification): Promise<Appended> => {
        this.#from = node.node;
        return this.#journal.append(notification);
      },
      firstWith: async () => undefined,
      follow: async follower => {
        for (const entry of this.entries) follower.deliver(entry);
        this.followers.push({ node, follower });
        return `${START}-0`;
      },
      now: () => this.#journal.now(),
      newest: () => this.#journal.newest(),
      status: () => this.#journal.status(),
      close: async () => undefined,
    };
  }
}

interface Node {
  readonly cluster: VirtualNode;
  readonly postroom: Postroom;
}

interface Client {
  readonly connection: ReturnType<Postroom['connect']>['connection'];
  readonly socket: FakeSocket;
}

/** Some nodes that share a journal, in virtual time. */
class Nodes {
  readonly network = new Network();
  readonly journal = new SharedJournal(this.network);
  readonly nodes: Node[] = [];
  readonly failures: unknown[] = [];
  /** Messages between nodes, with their topics. */
  readonly messages: { readonly topic: string; readonly body: string }[] = [];
  #names = 0;

  static async start(count: number): Promise<Nodes> {
    const nodes = new Nodes();
    running.push(nodes);
    for (let index = 0; index < count; index++) await nodes.start();
    await nodes.pass(1500);
    nodes.messages.length = 0;
    return nodes;
  }

  async start(): Promise<Node> {
    const cluster = new VirtualNode(this.network, `node${this.#names++}`, () => '');
    const tell = cluster.tell.bind(cluster);
    cluster.tell = (topic, body, node) => {
      this.messages.push({ topic, body });
      tell(topic, body, node);
    };
    const postroom = new Postroom({
      journal: this.journal.at(cluster),
      retention: { seconds: RETENTION_SECONDS, bytes: 1e9 },
      maxBufferedBytes: 1e6,
      isShared: true,
      cluster,
      clock: this.network.time.clock,
      after: cluster.after,
      presence: PLAIN.presence,
      stores: PLAIN.stores,
      failed: error => void this.failures.push(error),
    });
    await postroom.start();
    const node = { cluster, postroom };
    this.nodes.push(node);
    return node;
  }

  get reports(): string[] {
    return this.messages.filter(({ topic }) => topic === 'acknowledged').map(({ body }) => body);
  }

  node(index: number): Node {
    return this.nodes[index] as Node;
  }

  connect(node: number, rooms: readonly string[] = ['a'], user?: string, socket = new FakeSocket()): Client {
    const { postroom } = this.node(node);
    const { connection } = postroom.connect(socket, WIRE, { user, peer: PEER, rooms });
    return { connection, socket };
  }

  acknowledge(node: number, { connection }: Client, id: string): void {
    this.node(node).postroom.receipts.acknowledge(connection, id);
  }

  /** The id of the newest entry. */
  get newest(): string {
    return this.journal.entries.at(-1)?.id ?? '';
  }

  async pass(milliseconds: number): Promise<void> {
    await settle();
    for (let left = milliseconds; left > 0; ) {
      left -= this.network.time.pass(left);
      await settle();
    }
  }
}

const WIRE = new FakeWire();
const running: Nodes[] = [];

afterEach(async () => {
  for (const { nodes, failures } of running.splice(0)) {
    for (const { postroom } of nodes) await postroom.stop();
    expect(failures).toEqual([]);
  }
});

async function settle(): Promise<void> {
  for (let turns = 0; turns < TURNS; turns++) await turn();
}

function asking(to: Address | readonly Address[], more: Partial<Notification> = {}): Notification {
  const addresses = [to].flat();
  return { addresses, event: 'e', data: '1', except: [], key: undefined, ttl: undefined, ack: 60, ...more };
}

/** Publishes at the first node, and waits for acknowledgements. */
function publish(nodes: Nodes, more: Partial<Notification> = {}) {
  const call = { receipt: undefined as Receipt | undefined };
  const { postroom } = nodes.node(0);
  void postroom.publish(asking('room:a', { wait: 30, ...more })).then(receipt => {
    call.receipt = receipt;
  });
  return call;
}

describe('a publisher who waits', () => {
  it('hears at once when all connections on all nodes have acknowledged', async () => {
    const nodes = await Nodes.start(3);
    const clients = [0, 1, 1, 2].map(node => ({ node, client: nodes.connect(node) }));
    const call = publish(nodes);
    await settle();
    for (const { node, client } of clients) {
      expect(call.receipt).toBeUndefined();
      nodes.acknowledge(node, client, nodes.newest);
      await settle();
    }
    expect(call.receipt).toMatchObject({ connections: 4, acknowledged: 4 });
  });

  it('does not wait for a connection on another node that closes', async () => {
    const nodes = await Nodes.start(2);
    const [stays, closes] = [nodes.connect(1), nodes.connect(1)];
    const call = publish(nodes);
    await settle();
    nodes.acknowledge(1, stays, nodes.newest);
    await settle();
    expect(call.receipt).toBeUndefined();
    nodes.node(1).postroom.disconnect(closes.connection, 'client');
    await settle();
    expect(call.receipt).toMatchObject({ connections: 2, acknowledged: 1 });
  });

  it('does not wait for a node that has died', async () => {
    const nodes = await Nodes.start(3);
    const [here, there] = [nodes.connect(0), nodes.connect(1), nodes.connect(2)];
    const call = publish(nodes);
    await settle();
    nodes.acknowledge(0, here as Client, nodes.newest);
    nodes.acknowledge(1, there as Client, nodes.newest);
    await settle();
    expect(call.receipt).toBeUndefined();
    await nodes.node(2).cluster.stop();
    await nodes.pass(5000);
    expect(call.receipt).toMatchObject({ connections: 3, acknowledged: 2 });
  });

  it('does not wait for a node that has come later', async () => {
    const nodes = await Nodes.start(2);
    const client = nodes.connect(1);
    const call = publish(nodes);
    await settle();
    await nodes.start();
    await nodes.pass(1000);
    nodes.acknowledge(1, client, nodes.newest);
    await nodes.pass(5000);
    expect(call.receipt).toMatchObject({ connections: 1, acknowledged: 1 });
  });

  it('hears what is known when its time is over, if a message got lost', async () => {
    const nodes = await Nodes.start(2);
    const [here, there] = [nodes.connect(0), nodes.connect(1)];
    const call = publish(nodes, { wait: 20 });
    await settle();
    nodes.acknowledge(0, here, nodes.newest);
    nodes.network.loses = () => true;
    nodes.acknowledge(1, there, nodes.newest);
    await nodes.pass(19_900);
    expect(call.receipt).toBeUndefined();
    await nodes.pass(100);
    expect(call.receipt).toMatchObject({ connections: 2, acknowledged: 1 });
  });

  it('hears what is known when its own node stops', async () => {
    const nodes = await Nodes.start(2);
    const [client] = [nodes.connect(1), nodes.connect(1)];
    const call = publish(nodes);
    await settle();
    nodes.acknowledge(1, client, nodes.newest);
    await settle();
    nodes.node(0).postroom.stopAccepting();
    await settle();
    expect(call.receipt).toMatchObject({ connections: 2, acknowledged: 1 });
  });
});

describe('acknowledgements', () => {
  it('of all nodes are added up', async () => {
    const nodes = await Nodes.start(3);
    const clients = [0, 1, 1, 2].map(node => ({ node, client: nodes.connect(node, [], 'ann') }));
    nodes.connect(2, ['a'], 'bob');
    await nodes.node(1).postroom.append(asking(['room:a', 'user:ann', 'user:cem']));
    await settle();
    const id = nodes.newest;
    for (const { node, client } of clients.slice(1)) nodes.acknowledge(node, client, id);
    for (const { postroom } of nodes.nodes) {
      const { users, ...findings } = await postroom.inquiry.ask(id, 'ann');
      expect(findings).toEqual({
        connections: 5,
        acknowledged: 3,
        missed: [],
        state: 'acknowledged',
        behind: 0,
        partial: false,
      });
      expect(Object.fromEntries(users)).toEqual({
        ann: { connections: 4, acknowledged: 3 },
        cem: { connections: 0, acknowledged: 0 },
      });
    }
  });

  it('before the delivery to a slow reader, of another room, or under a strange id count for nothing', async () => {
    const nodes = await Nodes.start(1);
    const socket = new FakeSocket();
    socket.stall();
    const slow = nodes.connect(0, ['a'], undefined, socket);
    const other = nodes.connect(0, ['b']);
    const { postroom } = nodes.node(0);
    for (let count = 0; count < 3; count++)
      await postroom.append(asking('room:a', { data: `"${'x'.repeat(600_000)}"` }));
    await settle();
    const id = nodes.newest;
    const strange = [`0${id}`, `${id} `, `${id}0`, '-', '', '1-1', `${'9'.repeat(15)}-0`, '1e9-0', '\ud800'];
    for (const client of [slow, other]) {
      nodes.acknowledge(0, client, id);
      for (const each of strange) nodes.acknowledge(0, client, each);
    }
    expect(await postroom.inquiry.ask(id)).toMatchObject({ acknowledged: 0 });
    socket.flow();
    await settle();
    nodes.acknowledge(0, slow, id);
    expect(await postroom.inquiry.ask(id)).toMatchObject({ acknowledged: 1 });
  });

  it(`of ${MANY} connections reach the publisher's node as one report in a turn`, async () => {
    const nodes = await Nodes.start(2);
    const clients = Array.from({ length: MANY }, () => nodes.connect(1));
    const call = publish(nodes);
    await settle();
    const before = nodes.reports.length;
    for (let group = 0; group < 4; group++) {
      for (const client of clients.slice((group * MANY) / 4, ((group + 1) * MANY) / 4))
        nodes.acknowledge(1, client, nodes.newest);
      await turn();
    }
    await settle();
    expect(call.receipt).toMatchObject({ connections: MANY, acknowledged: MANY });
    expect(nodes.reports.length - before).toBeLessThanOrEqual(4);
  });

  it('are forgotten with their notifications, and take little memory', async () => {
    const nodes = await Nodes.start(2);
    const clients = Array.from({ length: MANY }, () => nodes.connect(0));
    const { postroom } = nodes.node(0);
    const bytesOf = async (count: number, act: (index: number) => Promise<void>) => {
      await settle();
      const before = heapBytes();
      for (let index = 0; index < count; index++) await act(index);
      await settle();
      return heapBytes() - before;
    };
    const plain = await bytesOf(
      100,
      async () => void (await postroom.append({ ...asking('room:c'), ack: undefined })),
    );
    const asked = await bytesOf(100, async () => void (await postroom.append(asking('room:c'))));
    const ids: string[] = [];
    const acknowledged = await bytesOf(20, async () => {
      ids.push(await postroom.append(asking('room:a')));
      for (const client of clients) nodes.acknowledge(0, client, nodes.newest);
    });
    const users = Array.from({ length: MANY }, (_, index): Address => `user:${index}`);
    const weight = postroom.stats.journal.bytes;
    const named = await bytesOf(1, async () => void (await postroom.append(asking(users))));
    const weighed = postroom.stats.journal.bytes - weight;
    console.log(
      `memory: ${Math.round(acknowledged / 20 / MANY)} bytes for an acknowledgement; ` +
        `${Math.round((asked - plain) / 100)} for a notification that asks for them (both nodes); ` +
        `${Math.round(named / MANY)} for a user by name (both nodes; the window counts ${Math.round(weighed / MANY)})`,
    );
    expect(acknowledged / 20 / MANY).toBeLessThan(60);
    for (const id of ids) expect(postroom.receipts.of(id)?.acknowledged.size).toBe(MANY);

    await nodes.pass((RETENTION_SECONDS + 1) * 1000);
    for (const { postroom } of nodes.nodes) {
      await postroom.append(asking('room:c'));
      await settle();
      expect(postroom.stats.journal.entries).toBeLessThanOrEqual(2);
      for (const id of ids) expect(postroom.receipts.of(id)).toBeUndefined();
      expect(postroom.receipts.size).toBeLessThanOrEqual(2);
    }
  }, 30_000);

  it('that nobody waits for any more hold no connections', async () => {
    const nodes = await Nodes.start(1);
    const clients = Array.from({ length: 10 }, () => nodes.connect(0));
    const call = publish(nodes, { wait: 1 });
    await nodes.pass(3000);
    expect(call.receipt).toMatchObject({ connections: clients.length, acknowledged: 0 });
    const receipt = nodes.node(0).postroom.receipts.of(nodes.newest);
    expect(receipt?.pending?.size ?? 0).toBe(0);
    nodes.acknowledge(0, clients[0] as Client, nodes.newest);
    expect(receipt?.acknowledged.size).toBe(1);
  });
});

function heapBytes(): number {
  collect();
  return process.memoryUsage().heapUsed;
}
