/** What a node reports of itself to the others, for operators. */
export interface NodeReport {
  readonly connections: number;
  /** How far it is behind in the journal, in milliseconds. */
  readonly lagMs: number;
}

export function writeNodeReport({ connections, lagMs }: NodeReport): string {
  return `${connections} ${lagMs}`;
}

/** Another version may report more, or less. */
export function readNodeReport(text: string): NodeReport {
  const [connections = 0, lagMs = 0] = text.split(' ').map(word => Number(word) || 0);
  return { connections, lagMs };
}
