import { once } from 'node:events';
import { lstat, unlink } from 'node:fs/promises';
import { connect, createServer, type ListenOptions, type Server } from 'node:net';
import { StartError } from '../model/start-error.js';

// Longest path of a Unix socket on macOS, with its closing zero. Linux takes 108 bytes.
const MAX_SOCKET_PATH = 104;
const NOBODY = ['ECONNREFUSED', 'ENOENT'];

/** Another process listens there, and answers. */
export class SocketInUse extends Error {
  constructor(path: string) {
    super(`another process listens on ${path}`);
    this.name = 'SocketInUse';
  }
}

/** Whether a path is short enough for a Unix socket. The system would cut off a longer path without an error. */
export function isSocketPath(path: string): boolean {
  return Buffer.byteLength(path) < MAX_SOCKET_PATH;
}

/**
 * Makes a server listen on a Unix socket. Replaces the file of a process that is gone. Rejects with `SocketInUse` if
 * another process answers there, with a StartError if the path is no socket, else with the system's error.
 * @param mode the file's permissions from its first moment on; undefined: the default of the process
 */
export async function listenOnFile(server: Server, options: ListenOptions & { path: string }, mode?: number) {
  const { path } = options;
  try {
    return await listen(server, options, mode);
  } catch (error) {
    if (codeOf(error) !== 'EADDRINUSE') throw error;
  }
  // Only a socket may be replaced.
  if (!(await lstat(path)).isSocket())
    throw new StartError(`${path} is there and no socket; move it away, or choose another path.`);
  const turn = await takeTurn(path);
  try {
    if (await answers(path)) throw new SocketInUse(path);
    await unlink(path);
    await listen(server, options, mode);
  } finally {
    turn?.close();
  }
}

/**
 * Several processes may find the same dead file: only one at a time may replace it. On Linux, an abstract socket name
 * is the lock. The system frees the name when the process ends.
 */
async function takeTurn(path: string): Promise<Server | undefined> {
  if (process.platform !== 'linux') return undefined;
  const turn = createServer();
  try {
    await listen(turn, { path: `\0postroom replaces ${path}` }, undefined);
    return turn;
  } catch (error) {
    throw codeOf(error) === 'EADDRINUSE' ? new SocketInUse(path) : error;
  }
}

async function listen(server: Server, options: ListenOptions, mode: number | undefined): Promise<void> {
  const listening = once(server, 'listening');
  // This call makes the file. Only the umask can set its permissions.
  const mask = mode === undefined ? undefined : process.umask(0o777 & ~mode);
  try {
    server.listen(options);
  } finally {
    if (mask !== undefined) process.umask(mask);
  }
  await listening;
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    if (NOBODY.includes(String(codeOf(error)))) return false;
    // A socket of another user.
    if (codeOf(error) === 'EACCES') return true;
    throw error;
  } finally {
    socket.destroy();
  }
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}
