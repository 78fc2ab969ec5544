import { execFile } from 'node:child_process';
import { closeSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { reasonOf } from '../model/reason.js';

// How long reading and copying may take: as long as the slowest disk needs, but not for ever.
const COPY_MS = 60_000;
const COPY_MS_PER_MIB = 500;
// Copying is nearly always done by then, and the stop finds an open file.
const STOP_MS = 5000;

/**
 * Replaces an LMDB file by a fresh copy of what is sound in it; makes the file if it is not there. This runs in a
 * process of its own: LMDB maps the file into memory and trusts it, so a damaged file, or a full disk, would end the
 * process without an error that could be caught. Rejects with the reason if the file cannot be read or the copy not be
 * written; the file is then as it was.
 * @param script what the process runs: it calls `writeCopy`
 * @param words what the script is given
 * @param stopping ends it, if it takes longer than a few seconds more
 */
export async function renewFile(
  script: string,
  path: string,
  words: readonly string[],
  stopping: AbortSignal,
): Promise<void> {
  await removeCopies(path);
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  const timeout = Math.ceil(COPY_MS + (size / 2 ** 20) * COPY_MS_PER_MIB);
  const tooLate = new AbortController();
  const stop = () => setTimeout(() => tooLate.abort(), STOP_MS).unref();
  stopping.addEventListener('abort', stop);
  const options = { timeout, killSignal: 'SIGKILL', signal: tooLate.signal } as const;
  try {
    await new Promise<void>((resolve, reject) => {
      const args = [script, path, String(process.pid), ...words];
      execFile(process.execPath, args, options, (error, stdout) => {
        if (error === null) resolve();
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
 * The script's side of `renewFile`: has a copy written and puts it in the file's place. Errors go to standard output,
 * as one line.
 * @param write writes the copy, without flushing it
 */
export async function writeCopy(
  write: (path: string, copy: string, words: readonly string[]) => Promise<void>,
): Promise<void> {
  const [path = '', server = '', ...words] = process.argv.slice(2);
  // A name of its own: a copier whose server was killed may still be at work.
  const copy = `${path}.new.${process.pid}`;
  try {
    await write(path, copy, words);
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

/** A copier that was killed leaves its copy; a copier whose server was killed cannot put its copy in place. */
async function removeCopies(path: string): Promise<void> {
  for (const name of await readdir(dirname(path)))
    if (name.startsWith(`${basename(path)}.new`)) await rm(join(dirname(path), name), { force: true });
}

function flush(file: string): void {
  const descriptor = openSync(file, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}
