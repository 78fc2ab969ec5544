import type { Cluster } from '../cluster/cluster.js';

/** A node's report about itself to the others. */
export interface NodeReport {
  readonly connections: number;
  /** How far the node is behind the journal, in milliseconds. */
  readonly lagMs: number;
  /** The version of the members that the node has: others see by it that they have missed a change. */
  readonly presence: number;
  /** The same for the occupied rooms. */
  readonly occupancy: number;
}

export function writeNodeReport({ connections, lagMs, presence, occupancy }: NodeReport): string {
  return `${connections} ${lagMs} ${presence} ${occupancy}`;
}

/** Another version may report more, or less. */
export function readNodeReport(text: string): NodeReport {
  const [connections = 0, lagMs = 0, presence = 0, occupancy = 0] = text
    .split(' ')
    .map(part => Number(part) || 0);
  return { connections, lagMs, presence, occupancy };
}

/** What the nodes have reported, for operators. */
export function nodesOf(cluster: Cluster) {
  return cluster.nodes().map(({ node, report }) => {
    const { connections, lagMs } = readNodeReport(report);
    return { node, connections, lagMs };
  });
}
