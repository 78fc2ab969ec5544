import { fileURLToPath } from 'node:url';
import { afterEach } from '@jest/globals';
import { type Broker, freePort, newDirectory, startBroker } from './broker.js';
import { reportOf } from './health.js';
import { JWT_SECRET, KEY } from './server.js';

export const folder = fileURLToPath(new URL('../../examples/cluster', import.meta.url));

export interface Node {
  readonly url: string;
  readonly pid: number;
}

/** Two nodes on one Redis behind a load balancer. */
export interface Example {
  /** The address of the load balancer. */
  readonly url: string;
  readonly nodes: readonly [Node, Node];
}

const running = new Set<Broker>();
// In order: processes of a killed script would outlive it.
afterEach(async () => {
  await Promise.all([...running].map(example => example.stop()));
  running.clear();
});

/** Runs examples/cluster/run.sh. Stopped after the test. */
export async function startExample(
  balancer: string,
  settings: Record<string, string> = {},
): Promise<Example> {
  const port = await freePort();
  const example = await startBroker(port, [
    {
      program: `${folder}/run.sh`,
      args: [],
      directory: newDirectory('cluster'),
      env: {
        BALANCER: balancer,
        PORT: String(port),
        NODE_1_PORT: String(await freePort()),
        NODE_2_PORT: String(await freePort()),
        REDIS_PORT: String(await freePort()),
        NOTIFY_KEYS: KEY,
        JWT_SECRET,
        ...settings,
      },
      ready: /Ctrl-C ends all of them/,
    },
  ]);
  running.add(example);
  const [one, two] = [...example.output().matchAll(/(http:\S+) +process (\d+)/g)].map(
    ([, url = '', pid]) => ({ url, pid: Number(pid) }),
  );
  if (one === undefined || two === undefined) throw new Error(`no nodes:\n${example.output()}`);
  return { url: `http://127.0.0.1:${port}`, nodes: [one, two] };
}

/** The node that has the only connection first, then the other one. */
export async function byConnection({ nodes: [one, two] }: Example): Promise<readonly [Node, Node]> {
  const { connections } = await reportOf(one);
  return connections === 1 ? [one, two] : [two, one];
}
