import type { Logger } from 'pino';
import type { Retention } from '../model/retention.js';
import { DiskJournal } from './disk.js';
import type { Journal } from './journal.js';
import { MemoryJournal } from './memory.js';

/** What a journal may need; each takes its part. */
interface JournalSettings {
  readonly retention: Retention;
  /** Where `disk` lives. */
  readonly directory: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** Every kind of journal by its name in `JOURNAL`. */
export const journals = {
  disk: ({ directory, retention, now, log }: JournalSettings): Journal =>
    new DiskJournal(directory, retention, now, log),
  memory: ({ retention, now }: JournalSettings): Journal => new MemoryJournal(retention, now),
};
