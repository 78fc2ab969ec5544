/** Time and CPU that went by between two moments: the server's, the load side's, and everybody else's. */
import { busyMicros, cpuMicros } from '../proc.js';

/** @param cores those that server and load side are pinned to; none if they are not */
export function mark({ pid, cores }) {
  return {
    at: performance.now(),
    server: cpuMicros(pid),
    load: cpuMicros(process.pid),
    all: busyMicros(cores),
  };
}

/**
 * `serverMicros` of CPU, and the shares of one core that server and load side were busy. `othersShare` is what
 * others took of the two cores meanwhile: with a quarter of a core gone, a rate says nothing any more.
 */
export function usageSince(before, target) {
  const now = mark(target);
  const seconds = (now.at - before.at) / 1000;
  const serverMicros = now.server - before.server;
  const loadMicros = now.load - before.load;
  const othersMicros = target.cores.length ? now.all - before.all - serverMicros - loadMicros : 0;
  const share = micros => micros / seconds / 1e6;
  return {
    seconds,
    serverMicros,
    serverShare: share(serverMicros),
    loadShare: share(loadMicros),
    othersShare: share(othersMicros),
  };
}
