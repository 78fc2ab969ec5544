import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

/** Logs one JSON line for each event. On a terminal, the lines are for people. */
export function createLog(level: string): Logger {
  if (!process.stdout.isTTY) return pino({ level, base: null }, stdout);
  return pino({ level, base: null }, pretty({ colorize: true, translateTime: 'SYS:HH:MM:ss', sync: true }));
}

const STDOUT = 1;

/** If the disk of a log file is full, Pino's own stream tries for ever, and stops the whole server. */
const stdout = {
  write(line: string): void {
    let rest = Buffer.from(line);
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(STDOUT, rest));
    } catch {
      // This failure cannot be logged anywhere. The next line is tried again.
    }
  },
};
