import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join, relative } from 'node:path';
import { StartError } from '../model/start-error.js';
import { isSocketPath, listenOnFile, SocketInUse } from '../unix/socket-file.js';

const LOCK_NAME = 'lock.sock';

export interface Lock {
  release(): Promise<void>;
}

/**
 * Makes sure that one process works in a directory: the process listens on a Unix socket there. The system frees the
 * socket when the process ends in any way, so a lock never outlives its holder. The file of a dead process is replaced.
 * Rejects with a StartError if another process holds the lock.
 */
export async function lockDirectory(directory: string): Promise<Lock> {
  const path = shortest(join(directory, LOCK_NAME));
  if (!isSocketPath(path))
    throw new StartError(
      `The path ${directory} is too long for its lock, a Unix socket; choose a shorter DATA_DIR.`,
    );
  const guard = await listenOnName(directory);
  try {
    const server = await listenInDirectory(path, directory);
    return {
      async release() {
        await close(server);
        await close(guard);
      },
    };
  } catch (error) {
    await close(guard);
    throw error;
  }
}

/**
 * Linux: an abstract socket name has no file. So there is no dead file to replace, and no race for it. A container does
 * not see the names of another container, but it sees the file.
 */
async function listenOnName(directory: string): Promise<Server | undefined> {
  if (process.platform !== 'linux') return undefined;
  const { dev, ino } = await stat(directory);
  const server = createServer();
  server.listen(`\0postroom ${dev} ${ino}`);
  return held(server, directory, once(server, 'listening'));
}

async function listenInDirectory(path: string, directory: string): Promise<Server> {
  const server = createServer();
  return held(server, directory, listenOnFile(server, { path }));
}

async function held(server: Server, directory: string, listening: Promise<unknown>): Promise<Server> {
  try {
    await listening;
  } catch (error) {
    throw isInUse(error) ? inUse(directory) : error;
  }
  server.on('connection', socket => socket.destroy());
  // Nobody is served here: errors with a caller do not matter, and must not end the process.
  server.on('error', () => undefined);
  server.unref();
  return server;
}

function isInUse(error: unknown): boolean {
  if (error instanceof SocketInUse) return true;
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'EADDRINUSE';
}

function inUse(directory: string): StartError {
  return new StartError(
    `Another process is using ${directory}; stop it, or give this one a DATA_DIR of its own.`,
  );
}

function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.length < path.length ? fromHere : path;
}

async function close(server: Server | undefined): Promise<void> {
  if (server === undefined) return;
  server.close();
  await once(server, 'close');
}
