import { inspect } from 'node:util';

const KINDS = [
  'wrong key',
  'bad token',
  'refused origin',
  'invalid notification',
  'unknown path',
  'refused room',
  'refused publish',
  'failed call',
] as const;

/** Why strangers are refused. */
export type RefusalKind = (typeof KINDS)[number];

/** The part of a logger that is needed here; pino's has it. */
export interface RefusalLog {
  warn(fields: Record<string, unknown>, message: string): void;
}

const QUIET_MS = 10_000;
const MAX_CHARACTERS = 200;
// Control, format and separator characters, and half surrogate pairs: they could break a line, or hide a part of it.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Logs who is refused, and why, so that an operator can see a wrong setting or an attack. Strangers cause these lines.
 * They cannot flood the log: each kind gets one line in ten seconds. They cannot forge its lines.
 */
export class Refusals {
  /** Refusals of each kind since the start, logged or not. */
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
   * Counts and logs a refusal. The line has the fields, the kind and, as `unlogged`, how many refusals of that kind
   * came since the last line and got no line.
   */
  refused(kind: RefusalKind, fields: Readonly<Record<string, unknown>>): void {
    this.counts[kind]++;
    const now = this.#now();
    const last = this.#lines.get(kind);
    // If the clock was set back, lines must not stop until the old time comes again.
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

/** Makes any value fit for a log line: in one line, and not too long. */
function printable(value: unknown): unknown {
  if (value === undefined || value === null || typeof value === 'number' || typeof value === 'boolean')
    return value;
  const limits = { depth: 2, maxArrayLength: 20, maxStringLength: MAX_CHARACTERS, breakLength: Infinity };
  const text = typeof value === 'string' ? value : inspect(value, limits);
  const cut = text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS - 1)}…` : text;
  return cut.replace(UNSEEN, '\u{fffd}');
}
