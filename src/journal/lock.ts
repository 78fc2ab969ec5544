import { once } from 'node:events';
import { stat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join, relative } from 'node:path';
import { StartError } from '../model/start-error.js';

const LOCK_NAME = 'lock.sock';
// Longest path of a Unix socket on Linux, with its closing zero; macOS takes a little less.
const MAX_SOCKET_PATH = 104;
const NOBODY = ['ECONNREFUSED', 'ENOENT'];

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
  if (Buffer.byteLength(path) >= MAX_SOCKET_PATH)
    throw new StartError(
      `The path ${directory} is too long for its lock, a Unix socket; choose a shorter DATA_DIR.`,
    );
  const guard = await listenOnName(directory);
  try {
    const server = await listenOnFile(path, directory);
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
  return listen(`\0postroom ${dev} ${ino}`).catch(error => {
    throw isInUse(error) ? inUse(directory) : error;
  });
}

async function listenOnFile(path: string, directory: string): Promise<Server> {
  try {
    return await listen(path);
  } catch (error) {
    if (!isInUse(error)) throw error;
  }
  if (await answers(path)) throw inUse(directory);
  await unlink(path);
  return listen(path);
}

function isInUse(error: unknown): boolean {
  return codeOf(error) === 'EADDRINUSE';
}

function inUse(directory: string): StartError {
  return new StartError(
    `Another process is using ${directory}; stop it, or give this one a DATA_DIR of its own.`,
  );
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}

function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.length < path.length ? fromHere : path;
}

async function listen(path: string): Promise<Server> {
  const server = createServer(socket => socket.destroy());
  server.listen(path);
  await once(server, 'listening');
  // Nobody is served here: what goes wrong with a caller does not matter, and must not end the process.
  server.on('error', () => undefined);
  server.unref();
  return server;
}

async function close(server: Server | undefined): Promise<void> {
  if (server === undefined) return;
  server.close();
  await once(server, 'close');
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    if (NOBODY.includes(String(codeOf(error)))) return false;
    throw error;
  } finally {
    socket.destroy();
  }
}
