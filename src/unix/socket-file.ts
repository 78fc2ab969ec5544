import { once } from 'node:events';
import { lstat, unlink } from 'node:fs/promises';
import { connect, createServer, type ListenOptions, type Server } from 'node:net';
import { StartError } from '../model/start-error.js';

// Longest path of a Unix socket on Linux, with its closing zero; macOS takes a little less.
const MAX_SOCKET_PATH = 104;
const NOBODY = ['ECONNREFUSED', 'ENOENT'];

/** Somebody listens there, and answers. */
export class SocketInUse extends Error {
  constructor(path: string) {
    super(`another process listens on ${path}`);
    this.name = 'SocketInUse';
  }
}

/** Whether a path is short enough for a Unix socket: a longer one would be cut off without a word. */
export function isSocketPath(path: string): boolean {
  return Buffer.byteLength(path) < MAX_SOCKET_PATH;
}

/**
 * Makes a server listen on a Unix socket. The file that a process left which is gone is replaced; rejects with
 * `SocketInUse` where one answers, with a StartError where something else stands there, else with the system's error.
 * @param mode the file's permissions from its first moment on; undefined: as the process makes files
 */
export async function listenOnFile(server: Server, options: ListenOptions & { path: string }, mode?: number) {
  const { path } = options;
  try {
    return await listen(server, options, mode);
  } catch (error) {
    if (codeOf(error) !== 'EADDRINUSE') throw error;
  }
  // Only what is a socket is ours to replace.
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
 * Of several who find the same dead file one at a time may replace it. On Linux, by a name without a file: the system
 * lets go of it with the process.
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
  // The file is made in this call, and with a mode of its own only by way of the mask.
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
    // Another user's.
    if (codeOf(error) === 'EACCES') return true;
    throw error;
  } finally {
    socket.destroy();
  }
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}
