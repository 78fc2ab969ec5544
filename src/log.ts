import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

/** One JSON line for each event; on a terminal, lines for people. */
export function createLog(level: string): Logger {
  if (!process.stdout.isTTY) return pino({ level, base: null });
  return pino({ level, base: null }, pretty({ colorize: true, translateTime: 'SYS:HH:MM:ss', sync: true }));
}
