import { describe, expect, it } from '@jest/globals';
import type { Cluster, Handler } from '../../src/cluster/cluster.js';
import { Counts } from '../../src/core/counts.js';
import type { Id } from '../../src/model/id.js';
import type { Entry } from '../../src/model/notification.js';

const BOUND_MS = 30;
const LONG_MS = 60_000;
const notification = {
  addresses: ['everyone'],
  event: 'e',
  data: '1',
  except: [],
  key: undefined,
  ttl: undefined,
} as const;

function entry(sequence: number, node?: string): Entry {
  return { time: 1, sequence, id: id(sequence), node, notification };
}

function id(sequence: number): Id {
  return `1-${sequence}`;
}

/** The counts of node `a`. The test plays the other nodes of the cluster. */
function counting(boundMs: number, nodes = ['a', 'b']) {
  const alive = new Set(nodes);
  const told: { node: string | undefined; body: string }[] = [];
  let handler: Handler = () => undefined;
  const cluster: Cluster = {
    node: 'a',
    start: async () => undefined,
    nodes: () => [...alive].map(node => ({ node, report: '' })),
    tell: (_topic, body, node) => void told.push({ node, body }),
    ask: async () => ({ answers: [], partial: false }),
    handle: (_topic, handle) => {
      handler = handle;
    },
    stop: async () => undefined,
  };
  const counts = new Counts(cluster, boundMs);
  return {
    counts,
    told,
    hear: (report: string, node: string) => void handler(report, node),
    gone: (node: string) => void alive.delete(node),
  };
}

describe('the count of an entry', () => {
  it('is what this node reached where no other node shares the journal', async () => {
    const { counts } = counting(LONG_MS);
    counts.delivered(entry(1), 3);
    expect(await counts.total(id(1))).toMatchObject({ connections: 3, partial: false });
    await counts.idle();
  });

  it('adds up what all nodes report, whether they do before or after it is asked for', async () => {
    const { counts, hear } = counting(LONG_MS);
    hear('1-1 2', 'b');
    counts.delivered(entry(1, 'a'), 3);
    expect(await counts.total(id(1))).toMatchObject({ connections: 5, partial: false });
    counts.delivered(entry(2, 'a'), 3);
    const total = counts.total(id(2));
    hear('1-2 4 1-9 7', 'b');
    expect(await total).toMatchObject({ connections: 7, partial: false });
    await counts.idle();
  });

  it('may be asked for before this node has delivered the entry', async () => {
    const { counts, hear } = counting(LONG_MS);
    const total = counts.total(id(1));
    hear('1-1 2', 'b');
    counts.delivered(entry(1, 'a'), 3);
    expect(await total).toMatchObject({ connections: 5, partial: false });
  });

  it('is partial where a node has not reported within the bound', async () => {
    const { counts, hear } = counting(BOUND_MS);
    counts.delivered(entry(1, 'a'), 3);
    const asked = performance.now();
    expect(await counts.total(id(1))).toMatchObject({ connections: 3, partial: true });
    expect(performance.now() - asked).toBeGreaterThanOrEqual(BOUND_MS - 1);
    hear('1-1 4', 'b');
    await counts.idle();
  });

  it('does not wait for a node that is gone', async () => {
    const { counts, hear, gone } = counting(BOUND_MS, ['a', 'b', 'c']);
    counts.delivered(entry(1, 'a'), 1);
    const total = counts.total(id(1));
    hear('1-1 1', 'b');
    gone('c');
    expect(await total).toMatchObject({ connections: 2, partial: false });
    counts.delivered(entry(2, 'a'), 1);
    hear('1-2 1', 'b');
    expect(await counts.total(id(2))).toMatchObject({ connections: 2, partial: false });
    await counts.idle();
  });

  it('believes each node once, only nodes that are waited for, and only numbers', async () => {
    const { counts, hear } = counting(LONG_MS);
    counts.delivered(entry(1, 'a'), 1);
    const total = counts.total(id(1));
    hear('1-1 100', 'a');
    hear('1-1 100', 'stranger');
    hear('1-1 NaN', 'b');
    hear('1-1', 'b');
    hear('nonsense 5', 'b');
    hear('1-7 100', 'b');
    hear('1-1 2', 'b');
    hear('1-1 2', 'b');
    expect(await total).toMatchObject({ connections: 3, partial: false });
    await counts.idle();
  });

  it('waits no more for a node that did not report in time, until it reports again', async () => {
    const { counts, hear } = counting(BOUND_MS);
    counts.delivered(entry(1, 'a'), 3);
    counts.delivered(entry(2, 'a'), 4);
    // The bound is waited for only once, even if several counts are open.
    expect(await Promise.all([counts.total(id(1)), counts.total(id(2))])).toMatchObject([
      { connections: 3, partial: true },
      { connections: 4, partial: true },
    ]);
    counts.delivered(entry(3, 'a'), 5);
    const turn = new Promise(resolve => setImmediate(() => resolve('waited')));
    expect(await Promise.race([counts.total(id(3)), turn])).toMatchObject({ connections: 5, partial: true });
    hear('1-3 9', 'b');
    counts.delivered(entry(4, 'a'), 1);
    hear('1-4 1', 'b');
    expect(await counts.total(id(4))).toMatchObject({ connections: 2, partial: false });
    await counts.idle();
  });

  it('waits for this node again, also after a delivery of its own that came too late', async () => {
    const { counts, hear } = counting(BOUND_MS);
    const late = counts.total(id(1));
    hear('1-1 2', 'b');
    expect(await late).toMatchObject({ connections: 2, partial: true });
    counts.delivered(entry(1, 'a'), 3);
    counts.delivered(entry(2, 'a'), 3);
    hear('1-2 2', 'b');
    expect(await counts.total(id(2))).toMatchObject({ connections: 5, partial: false });
  });

  it('ends also when it is asked for after nothing was waited for', async () => {
    const { counts, hear } = counting(BOUND_MS);
    counts.delivered(entry(1, 'a'), 1);
    const first = counts.total(id(1));
    hear('1-1 1', 'b');
    expect(await first).toMatchObject({ connections: 2, partial: false });
    await counts.idle();
    counts.delivered(entry(2, 'a'), 1);
    expect(await counts.total(id(2))).toMatchObject({ connections: 1, partial: true });
  });

  it('of an entry of another node is reported to that node, together with others of the turn', async () => {
    const { counts, told } = counting(LONG_MS);
    counts.delivered(entry(1, 'b'), 3);
    counts.delivered(entry(2, 'b'), 0);
    counts.delivered(entry(3, 'c'), 1);
    expect(told).toEqual([]);
    await new Promise(resolve => setImmediate(resolve));
    expect(told).toEqual([
      { node: 'b', body: '1-1 3 1-2 0' },
      { node: 'c', body: '1-3 1' },
    ]);
  });
});
