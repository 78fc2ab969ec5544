import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';

// Opens it, makes what is not there yet, and reads everything.
const OPEN_AND_READ = `
  const { open } = require(process.argv[1]);
  const root = open({ path: process.argv[2], maxDbs: process.argv.length });
  for (const name of process.argv.slice(3))
    for (const entry of root.openDB({ name }).getRange()) void entry;
`;

/**
 * Whether an LMDB file can be opened (made, where there is none) and every entry of it be read. Tried in a process
 * of its own: LMDB maps the file into memory and trusts it, so that a damaged file, or a full disk at the first
 * start, would end the process without an error that could be caught. Takes 0.1 s, and a second a million entries.
 */
export async function canBeOpened(path: string, databases: readonly string[]): Promise<boolean> {
  const lmdb = createRequire(import.meta.url).resolve('lmdb');
  return new Promise(resolve => {
    execFile(process.execPath, ['-e', OPEN_AND_READ, lmdb, path, ...databases], error =>
      resolve(error === null),
    );
  });
}
