/** Time and CPU that went by between two moments: the servers', the broker's, the load side's, everybody else's. */
import { busyMicros, cpuMicros } from '../proc.js';

/** @param cores those that server and load side are pinned to; none if they are not */
export function mark({ pids, broker, cores }) {
  return {
    at: performance.now(),
    server: pids.reduce((sum, pid) => sum + cpuMicros(pid), 0),
    broker: broker ? cpuMicros(broker.pid) : 0,
    load: cpuMicros(process.pid),
    all: busyMicros(cores),
  };
}

/**
 * `serverMicros` and `brokerMicros` of CPU, and the shares of one core that each side was busy. `othersShare` is what
 * others took of the two cores meanwhile: with a quarter of a core gone, a rate says nothing any more.
 */
export function usageSince(before, target) {
  const now = mark(target);
  const seconds = (now.at - before.at) / 1000;
  const [serverMicros, brokerMicros, loadMicros] = ['server', 'broker', 'load'].map(
    side => now[side] - before[side],
  );
  const ours = serverMicros + brokerMicros + loadMicros;
  const othersMicros = target.cores.length ? now.all - before.all - ours : 0;
  const share = micros => micros / seconds / 1e6;
  return {
    seconds,
    serverMicros,
    brokerMicros,
    serverShare: share(serverMicros),
    brokerShare: share(brokerMicros),
    loadShare: share(loadMicros),
    othersShare: share(othersMicros),
  };
}
