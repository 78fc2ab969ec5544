import { execFile } from 'node:child_process';
import { closeSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { reasonOf } from '../model/reason.js';

// How long reading and copying may take: as long as the slowest disk needs, but not for ever.
const COPY_MS = 60_000;
const COPY_MS_PER_MIB = 500;
// How long copying may go on after a stop. It is nearly always done by then.
const STOP_MS = 5000;

/**
 * Checks an LMDB file and replaces it by a fresh copy. Makes the file if it is missing. This runs in a process of its
 * own: LMDB maps the file into memory and trusts it, so a damaged file, or a full disk, would end the process without
 * an error that could be caught. Rejects with the reason if the file is damaged or cannot be read, or if the copy
 * cannot be written. Then the file does not change.
 * @param script the script that the process runs: it calls `writeCopy`
 * @param extra further arguments of the script
 * @param stopping if aborted, the process may go on for only a few seconds
 */
export async function renewFile(
  script: string,
  path: string,
  extra: readonly string[],
  stopping: AbortSignal,
): Promise<void> {
  await removeCopies(path);
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  const timeout = Math.ceil(COPY_MS + (size / 2 ** 20) * COPY_MS_PER_MIB);
  const tooLate = new AbortController();
  const stop = () => setTimeout(() => tooLate.abort(), STOP_MS).unref();
  if (stopping.aborted) stop();
  else stopping.addEventListener('abort', stop);
  const options = { timeout, killSignal: 'SIGKILL', signal: tooLate.signal } as const;
  try {
    await new Promise<void>((resolve, reject) => {
      const args = [script, path, String(process.pid), ...extra];
      execFile(process.execPath, args, options, (error, stdout) => {
        if (error === null) resolve();
        else if (error.signal === 'SIGKILL')
          reject(new Error('the process that reads it was killed, for want of memory or of time; try again'));
        else reject(new Error(stdout.trim() || 'its contents cannot be read'));
      });
    });
  } catch (error) {
    await removeCopies(path);
    throw error;
  } finally {
    stopping.removeEventListener('abort', stop);
  }
}

/**
 * The script's side of `renewFile`: has a copy written, and replaces the file by it. Errors go to standard output, as
 * one line.
 * @param write writes the copy, without flushing it
 */
export async function writeCopy(
  write: (path: string, copy: string, extra: readonly string[]) => Promise<void>,
): Promise<void> {
  const [path = '', server = '', ...extra] = process.argv.slice(2);
  // A name of its own: a copier whose server was killed may still run.
  const copy = `${path}.new.${process.pid}`;
  try {
    await write(path, copy, extra);
    flush(copy);
    if (process.ppid !== Number(server)) throw new Error('its server has ended');
    renameSync(copy, path);
    rmSync(`${copy}-lock`, { force: true });
    flush(dirname(path));
  } catch (error) {
    console.log(reasonOf(error));
    rmSync(copy, { force: true });
    process.exitCode = 1;
  }
}

/** Removes the copies of killed copiers. A copier whose server was killed cannot put its copy in place. */
async function removeCopies(path: string): Promise<void> {
  for (const name of await readdir(dirname(path)))
    if (name.startsWith(`${basename(path)}.new`)) await rm(join(dirname(path), name), { force: true });
}

function flush(file: string): void {
  const descriptor = openSync(file, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}
