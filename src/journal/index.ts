import type { Retention } from '../model/retention.js';
import type { Journal } from './journal.js';
import { MemoryJournal } from './memory.js';

export type { Journal } from './journal.js';

interface JournalSettings {
  readonly retention: Retention;
}

/** Every kind of journal by its name in `JOURNAL`. */
export const journals = {
  memory: (settings: JournalSettings, now: () => number): Journal =>
    new MemoryJournal(settings.retention, now),
};

export type JournalKind = keyof typeof journals;
