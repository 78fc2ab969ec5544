/** How fast do listeners come in, each with a token of its own, as after a restart? */
import { createSecretKey } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { JWT_SECRET } from './harness.js';

const WARM_UP = 1_000; // for the compiler's optimizations
const CONNECTIONS = 3_000;
const ROOM = 'orders.bench';

export default {
  rows: {
    rate: { label: 'connecting with a token (HS256): connections/s' },
    cpu: { label: 'connecting with a token (HS256): server CPU, µs/connection' },
  },

  async measure(load) {
    await load.ask('connect', { paths: tokenPaths(WARM_UP), together: 64 });
    const connected = await load.ask('connect', { paths: tokenPaths(CONNECTIONS), together: 64 });
    return {
      figures: {
        rate: CONNECTIONS / connected.seconds,
        cpu: connected.serverMicros / CONNECTIONS,
      },
      usages: [connected],
    };
  },
};

function tokenPaths(count) {
  const secret = createSecretKey(JWT_SECRET, 'utf8');
  return Array.from({ length: count }, (_, n) => {
    const token = jwt.sign({ sub: `${n}`, rooms: [ROOM] }, secret, { expiresIn: '1h' });
    return `/ws?room=${ROOM}&token=${token}`;
  });
}
