import type { Logger } from 'pino';
import type { Entry } from '../model/notification.js';
import type { Follower } from './journal.js';

/** Delivers an entry that is in the journal. It stays there, so an error of the follower is logged and held against nobody. */
export function deliver(follower: Follower | undefined, entry: Entry, log: Logger): void {
  try {
    follower?.deliver(entry);
  } catch (error) {
    log.error({ err: error, id: entry.id }, 'a notification could not be delivered');
  }
}
