import type { Logger } from 'pino';
import type { Entry } from '../model/notification.js';
import type { Follower } from './journal.js';

/** Delivers an entry of the journal. An error of the follower is only logged: the entry stays in the journal. */
export function deliver(follower: Follower | undefined, entry: Entry, log: Logger): void {
  try {
    follower?.deliver(entry);
  } catch (error) {
    log.error({ err: error, id: entry.id }, 'a notification could not be delivered');
  }
}
