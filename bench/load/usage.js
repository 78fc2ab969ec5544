/** Time and CPU between two moments: of the servers, the broker, the load side and everybody else. */
import { busyMicros, cpuMicros, writesOf } from '../proc.js';

/** @param cores the cores of server and load side; none if they are not pinned */
export function mark({ pids, broker, cores }) {
  const written = pids.map(writesOf);
  return {
    at: performance.now(),
    server: pids.reduce((sum, pid) => sum + cpuMicros(pid), 0),
    broker: broker ? broker.pids.reduce((sum, pid) => sum + cpuMicros(pid), 0) : 0,
    load: cpuMicros(process.pid),
    all: busyMicros(cores),
    writes: written.reduce((sum, { writes }) => sum + writes, 0),
    bytes: written.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/**
 * `writes` of the servers, and their `bytes`. `serverMicros` and `brokerMicros` of CPU, and the shares of one core that each side was busy. `othersShare` is the
 * part of the two cores that others took: without a quarter of a core, a rate means nothing any more.
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
    writes: now.writes - before.writes,
    bytes: now.bytes - before.bytes,
    serverMicros,
    brokerMicros,
    serverShare: share(serverMicros),
    brokerShare: share(brokerMicros),
    loadShare: share(loadMicros),
    othersShare: share(othersMicros),
  };
}
