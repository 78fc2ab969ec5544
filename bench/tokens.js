/** Paths to listeners that have a user each. */
import { createSecretKey } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { JWT_SECRET } from './harness.js';

/** What the others see of a user: 100 bytes of JSON. */
export const INFO = { name: 'Li Mei', avatar: `https://example.com/avatars/${'x'.repeat(39)}.png` };

/** One path for each user; all to the same room. */
export function userPaths(users, room) {
  const secret = createSecretKey(JWT_SECRET, 'utf8');
  return users.map(user => {
    const token = jwt.sign({ sub: user, rooms: [room], info: INFO }, secret, { expiresIn: '1h' });
    return `/ws?room=${room}&token=${token}`;
  });
}

/** So many users, whose names begin with `prefix`. */
export function usersNamed(prefix, count) {
  return Array.from({ length: count }, (_, n) => `${prefix}${String(n).padStart(6, '0')}`);
}
