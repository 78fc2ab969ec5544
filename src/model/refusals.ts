import { inspect } from 'node:util';

const KINDS = [
  'wrong key',
  'bad token',
  'refused origin',
  'invalid notification',
  'unknown path',
  'refused room',
] as const;

/** What strangers are refused for. */
export type RefusalKind = (typeof KINDS)[number];

/** As much of a logger as is needed here; pino's is one. */
export interface RefusalLog {
  warn(fields: Record<string, unknown>, message: string): void;
}

const QUIET_MS = 10_000;
const MAX_CHARACTERS = 200;
// Control, format and separator characters, and halves of pairs: what could break a line, or hide a part of it.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Tells the log who is refused, and why, so that an operator can see a wrong setting or an attack. What is refused
 * comes from strangers: they can neither flood the log, one line in ten seconds for each kind, nor forge its lines.
 */
export class Refusals {
  /** How many of each kind there were since the start, logged or not. */
  readonly counts = Object.fromEntries(KINDS.map(kind => [kind, 0])) as Record<RefusalKind, number>;
  readonly #lines = new Map<RefusalKind, { at: number; unlogged: number }>();
  readonly #log: RefusalLog;
  readonly #now: () => number;

  /** @param now milliseconds since the epoch */
  constructor(log: RefusalLog, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /**
   * Somebody was refused. The line has the fields, the kind and, as `unlogged`, how many of that kind came since
   * the line before and got none.
   */
  refused(kind: RefusalKind, fields: Readonly<Record<string, unknown>>): void {
    this.counts[kind]++;
    const now = this.#now();
    const last = this.#lines.get(kind);
    // A clock that was set back must not silence it until the old time has come again.
    if (last !== undefined && Math.abs(now - last.at) < QUIET_MS) {
      last.unlogged++;
      return;
    }
    this.#lines.set(kind, { at: now, unlogged: 0 });
    const unlogged = last !== undefined && last.unlogged > 0 ? { unlogged: last.unlogged } : {};
    const shown = Object.entries(fields).map(([name, value]) => [name, printable(value)]);
    this.#log.warn({ ...Object.fromEntries(shown), kind, ...unlogged }, 'refused');
  }
}

/** What can stand in a log line, whatever it was: no longer than a line should be, and in one line. */
function printable(value: unknown): unknown {
  if (value === undefined || value === null || typeof value === 'number' || typeof value === 'boolean')
    return value;
  const limits = { depth: 2, maxArrayLength: 20, maxStringLength: MAX_CHARACTERS, breakLength: Infinity };
  const text = typeof value === 'string' ? value : inspect(value, limits);
  const cut = text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS - 1)}…` : text;
  return cut.replace(UNSEEN, '\u{fffd}');
}
