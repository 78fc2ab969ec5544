/** Which Socket.IO there is to compare with. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** `npm install --prefix .cache/socket.io socket.io@4` puts it there. */
export const SOCKET_IO = fileURLToPath(
  new URL('../.cache/socket.io/node_modules/socket.io/package.json', import.meta.url),
);

/** Such as 4.8.1; undefined if it is not there. */
export const socketIoVersion = existsSync(SOCKET_IO)
  ? JSON.parse(readFileSync(SOCKET_IO, 'utf8')).version
  : undefined;
