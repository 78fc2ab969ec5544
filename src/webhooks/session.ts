/** A connection that is open. It is stored, so that its end is told also if its process dies. */
export interface Session {
  readonly connection: string;
  readonly user: string | null;
  readonly address: string;
  readonly protocol: string;
}

/** The key of a session in its store. */
export function keyOf(node: string, connection: string): string {
  return `${node} ${connection}`;
}

/** The keys of all sessions of a node: from the first one up to the second, which is left out. */
export function keysOf(node: string): [from: string, to: string] {
  return [`${node} `, `${node}!`];
}
