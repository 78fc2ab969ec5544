import type { Id } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { Problem } from '../model/problem.js';

/** The parts of a notification that must not change if its idempotency key is used again. */
export type Target = Pick<Notification, 'addresses' | 'event'>;

/**
 * Checks that a repeated key comes with the same event and the same addresses. Throws a Problem (`key_reused`) if not.
 * @param id of the first notification with this key
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
