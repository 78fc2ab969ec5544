import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

/** One JSON line for each event; on a terminal, lines for people. */
export function createLog(level: string): Logger {
  if (!process.stdout.isTTY) return pino({ level, base: null }, stdout);
  return pino({ level, base: null }, pretty({ colorize: true, translateTime: 'SYS:HH:MM:ss', sync: true }));
}

const STDOUT = 1;

/** Pino's own would try for ever where the disk under a log file is full, and stop the whole server with it. */
const stdout = {
  write(line: string): void {
    let rest = Buffer.from(line);
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(STDOUT, rest));
    } catch {
      // There is no place left to say so; the next line is tried again.
    }
  },
};
