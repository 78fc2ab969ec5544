import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

// Reads everything there is. Run in a process of its own, because LMDB maps the file into memory and trusts it:
// reading a damaged one ends the process that does, without an error that could be caught.
const READ_ALL = `
  const { open } = require(process.argv[1]);
  const root = open({ path: process.argv[2], readOnly: true, maxDbs: process.argv.length });
  for (const name of process.argv.slice(3))
    for (const entry of root.openDB({ name }).getRange()) void entry;
`;

/** Whether every entry of an LMDB file can be read; true where there is no file yet. Takes about 0.1 s and a second a million. */
export async function isSound(path: string, databases: readonly string[]): Promise<boolean> {
  if (!existsSync(path)) return true;
  const lmdb = createRequire(import.meta.url).resolve('lmdb');
  return new Promise(resolve => {
    execFile(process.execPath, ['-e', READ_ALL, lmdb, path, ...databases], error => resolve(error === null));
  });
}
