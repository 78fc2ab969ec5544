import { afterEach, describe, expect, it } from '@jest/globals';
import type { Cluster } from '../../src/cluster/cluster.js';

/** Waits for something that no event tells. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(resolve => setTimeout(resolve, 10));
}

/**
 * The promises of src/cluster/cluster.ts, for any implementation.
 * @param join returns a node that joins the cluster of the test; stopped by the suite
 * @param size how many nodes there can be
 */
export function clusterContract(
  kind: string,
  join: (cluster: string, node: string, report: () => string) => Cluster,
  size: number,
): void {
  const joined: Cluster[] = [];
  afterEach(async () => {
    for (const cluster of joined.splice(0)) await cluster.stop();
  });

  async function start(nodes: readonly string[] = ['a', 'b', 'c'].slice(0, size)): Promise<Cluster[]> {
    const name = `test-${Math.random()}`;
    const clusters = nodes.map(node => join(name, node, () => `report of ${node}`));
    joined.push(...clusters);
    await Promise.all(clusters.map(cluster => cluster.start()));
    // Those that start together get to know each other with the next heartbeat.
    await until(() => clusters.every(cluster => cluster.nodes().length === nodes.length));
    return clusters;
  }

  function names(cluster: Cluster | undefined): string[] {
    return (cluster?.nodes() ?? []).map(({ node }) => node).sort();
  }

  describe(`the ${kind} cluster`, () => {
    it('lists the nodes that are alive with their reports, this one among them', async () => {
      const clusters = await start();
      for (const cluster of clusters) {
        await until(() => cluster.nodes().length === size);
        expect(names(cluster)).toEqual(clusters.map(({ node }) => node));
        for (const { node, report } of cluster.nodes()) expect(report).toBe(`report of ${node}`);
      }
      if (size === 1) return;
      await clusters[1]?.stop();
      await until(() => !names(clusters[0]).includes('b'));
    });

    it('knows of all others when it has started, and they know of it', async () => {
      const [first] = await start(['a']);
      expect(names(first)).toEqual(['a']);
    });

    it('asks all nodes, and tells where not all have answered', async () => {
      const clusters = await start();
      for (const cluster of clusters)
        cluster.handle('double', (body, from) => `${cluster.node} ${from} ${2 * Number(body)}`);
      const { answers, partial } = (await clusters[0]?.ask('double', '21', 5000)) ?? {};
      expect(partial).toBe(false);
      expect([...(answers ?? [])].sort()).toEqual(clusters.map(({ node }) => `${node} a 42`));
      expect(await clusters[0]?.ask('unknown', '', 50)).toEqual({ answers: [], partial: true });
      clusters.at(-1)?.handle('double', () => {
        throw new Error('this one fails');
      });
      expect(await clusters[0]?.ask('double', '1', 50)).toMatchObject({ partial: true });
    });

    it('tells the others, or one of them, in order, and never itself', async () => {
      const clusters = await start();
      const heard = clusters.map(() => [] as string[]);
      for (const [index, cluster] of clusters.entries())
        cluster.handle('news', (body, from) => void heard[index]?.push(`${from}: ${body}`));
      const [first, ...others] = clusters;
      for (let n = 0; n < 50; n++) first?.tell('news', String(n));
      for (const other of others) first?.tell('news', `for ${other.node}`, other.node);
      const numbers = Array.from({ length: 50 }, (_, n) => `a: ${n}`);
      await until(() => heard.slice(1).every(words => words.length >= 51));
      expect(heard).toEqual([[], ...others.map(({ node }) => [...numbers, `a: for ${node}`])]);
    });

    it('may be stopped twice, and before it has started', async () => {
      const cluster = join(`test-${Math.random()}`, 'a', () => '');
      await Promise.all([cluster.stop(), cluster.stop()]);
      const [started] = await start(['a']);
      await started?.stop();
      await started?.stop();
    });
  });
}
