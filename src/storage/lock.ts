import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join, relative } from 'node:path';
import { StartError } from '../model/start-error.js';
import { isSocketPath, listenOnFile, SocketInUse } from '../unix/socket-file.js';

const LOCK_NAME = 'lock.sock';

export interface Lock {
  /** Lets go of it. */
  release(): Promise<void>;
}

/**
 * Makes sure that one process works in a directory: it listens on a Unix socket there. The system lets go of it
 * with the process, however that ends, so a lock never outlives its holder; the file of a dead one is replaced.
 * Rejects with a sentence when another process holds it.
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
 * Linux: a name without a file, so that there is no dead one's to replace, and no race in replacing it. It does not
 * reach from one container into another; the file does.
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
  // Nobody is served here: what goes wrong with a caller does not matter, and must not end the process.
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
