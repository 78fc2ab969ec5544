import type { Id } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { Problem } from '../model/problem.js';

/** What an idempotency key stands for. */
export type Target = Pick<Notification, 'addresses' | 'event'>;

/**
 * Makes sure that a key which was used before is used for the same again: the same event for the same addresses.
 * Throws a Problem (`key_reused`) where it is not.
 * @param id of the first with this key
 */
export function requireSameTarget(notification: Notification, first: Target, id: Id): void {
  const addresses = new Set(first.addresses);
  const isSame =
    notification.event === first.event &&
    notification.addresses.length === addresses.size &&
    notification.addresses.every(address => addresses.has(address));
  if (isSame) return;
  throw new Problem(
    'key_reused',
    `The key ${JSON.stringify(notification.key)} was used before, for another event or other addresses: notification ${id}. A key stands for one notification; give this one its own.`,
  );
}
