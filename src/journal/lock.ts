import { once } from 'node:events';
import { unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join, relative } from 'node:path';

const LOCK_NAME = 'lock.sock';
// Longest path of a Unix socket on Linux, with its closing zero; macOS takes a little less.
const MAX_SOCKET_PATH = 104;

/**
 * Makes sure that one process works in a directory: it listens on a Unix socket there. The system lets go of it
 * with the process, however that ends, so a lock never outlives its holder; the file of a dead one is replaced.
 * Rejects with a sentence when another process holds it.
 */
export async function lockDirectory(directory: string): Promise<{ release(): Promise<void> }> {
  const path = shortest(join(directory, LOCK_NAME));
  if (Buffer.byteLength(path) >= MAX_SOCKET_PATH)
    throw new Error(
      `The path ${directory} is too long for its lock, a Unix socket; choose a shorter DATA_DIR.`,
    );
  const server = await listen(path).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    if (await answers(path))
      throw new Error(
        `Another process is using ${directory}; stop it, or give this one a DATA_DIR of its own.`,
      );
    await unlink(path);
    return listen(path);
  });
  server.unref();
  return {
    async release() {
      server.close();
      await once(server, 'close');
    },
  };
}

function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.length < path.length ? fromHere : path;
}

async function listen(path: string): Promise<Server> {
  const server = createServer(socket => socket.destroy());
  server.listen(path);
  await once(server, 'listening');
  return server;
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
