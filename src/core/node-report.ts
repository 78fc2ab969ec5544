/** A node's report about itself to the others, for operators. */
export interface NodeReport {
  readonly connections: number;
  /** How far the node is behind the journal, in milliseconds. */
  readonly lagMs: number;
}

export function writeNodeReport({ connections, lagMs }: NodeReport): string {
  return `${connections} ${lagMs}`;
}

/** Another version may report more, or less. */
export function readNodeReport(text: string): NodeReport {
  const [connections = 0, lagMs = 0] = text.split(' ').map(part => Number(part) || 0);
  return { connections, lagMs };
}
