/** Reads from /proc what Linux knows about a process. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const TICK_MICROS = 10_000; // the unit of /proc/stat, fixed at 1/100 s

/** CPU time of all threads of a process, in µs. /proc/PID/stat only counts in steps of 10 ms. */
export function cpuMicros(pid) {
  let nanos = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) nanos += threadNanos(pid, thread);
  return nanos / 1000;
}

/** The processes that a process has started itself. */
export function childrenOf(pid) {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
}

function threadNanos(pid, thread) {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
  } catch {
    return 0; // it ended between the listing and now
  }
}

/** Time that the given cores worked for anybody, or that a hypervisor took from them, in µs. */
export function busyMicros(cores) {
  const lines = readFileSync('/proc/stat', 'latin1').split('\n');
  let ticks = 0;
  for (const core of cores) {
    const [user, nice, system, , , irq, softirq, steal] = lines[core + 1].split(/ +/).slice(1).map(Number);
    ticks += user + nice + system + irq + softirq + steal;
  }
  return ticks * TICK_MICROS;
}

/** How often a process has written to files and sockets, and how many bytes. */
export function writesOf(pid) {
  const text = readFileSync(`/proc/${pid}/io`, 'latin1');
  const number = name => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)[1]);
  return { writes: number('syscw'), bytes: number('wchar') };
}

/** Memory of a process that is in RAM, in KiB. */
export function rssKiB(pid) {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))[1]);
}

/** The part of it that is no file's. */
export function anonKiB(pid) {
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))[1]);
}

/** RSS in KiB, when it has moved by less than half a percent for a second and a half; after 10 s in any case. */
export async function settledKiB(pid) {
  const seen = [];
  for (let tries = 0; tries < 40; tries++) {
    await sleep(250);
    seen.push(rssKiB(pid));
    const last = seen.slice(-6);
    if (last.length === 6 && Math.max(...last) < Math.min(...last) * 1.005) break;
  }
  return seen.at(-1);
}

/** How many files and sockets a process started from here can open (Node raises itself to the hard limit). */
export function openFilesLimit() {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))[1];
  return hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
}
