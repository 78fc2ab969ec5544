import { randomFillSync } from 'node:crypto';

const BYTES_PER_HALF = 6;
// One call to the system's random generator serves many ids.
const pool = Buffer.alloc(1024 * 2 * BYTES_PER_HALF);
let used = pool.length;

/** A new connection id: two random decimal integers joined by a dot, 96 random bits in all. */
export function newConnectionId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const id = `${pool.readUIntBE(used, BYTES_PER_HALF)}.${pool.readUIntBE(used + BYTES_PER_HALF, BYTES_PER_HALF)}`;
  used += 2 * BYTES_PER_HALF;
  return id;
}
