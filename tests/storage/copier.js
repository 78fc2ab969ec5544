/** node copier.js FILE PROCESS HOW: a script for `renewFile` that ends in many ways. */
import { readFileSync, writeFileSync } from 'node:fs';
import { writeCopy } from '../../dist/storage/renew.js';

await writeCopy(async (path, copy, [how]) => {
  writeFileSync(copy, how === 'anew' ? 'new' : `copy of ${readFileSync(path)}`);
  writeFileSync(`${copy}-lock`, '');
  if (how === 'fails') throw new Error('page 7 is torn');
  if (how === 'crashes') process.kill(process.pid, 'SIGSEGV');
  if (how === 'hangs') await new Promise(resolve => setTimeout(resolve, 3_600_000));
});
