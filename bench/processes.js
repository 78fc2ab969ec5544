/** Starts processes, each on its core. They end when this one ends. */
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';

export const SERVER_CORE = 0;
export const LOAD_CORE = 1;

export const pinned =
  availableParallelism() > LOAD_CORE && spawnSync('taskset', ['-c', `${LOAD_CORE}`, 'true']).status === 0;

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1)); // ends the children too

/** @param core undefined: any core */
export function start(core, program, args, options) {
  const line = pinned && core !== undefined ? ['taskset', '-c', `${core}`, program] : [program];
  const child = spawn(line[0], [...line.slice(1), ...args], options);
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  return child;
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
