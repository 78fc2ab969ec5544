/**
 * node put-until-full.js DIRECTORY, where files may not grow beyond some MiB (ulimit -S -f)
 * Puts until that is refused, makes room, and puts once more. Prints what became of each.
 */
import { execFileSync } from 'node:child_process';
import { DataDirectory } from '../../dist/storage/directory.js';
import { DiskStores } from '../../dist/storage/disk.js';

const stores = new DiskStores(new DataDirectory(process.argv[2]), new AbortController().signal);
await stores.start();
const store = stores.open('things');
const text = 'x'.repeat(20_000);

const put = (key, value) =>
  store.put(key, value).then(
    () => {
      console.log(`put ${key}`);
      return true;
    },
    error => {
      console.log(`refused ${key}: ${error.message}`);
      return false;
    },
  );

for (let number = 0; await put(`thing ${number}`, text); number++);
// More than one group, of which the first fails.
await Promise.all(Array.from({ length: 100 }, (_, number) => put(`more ${number}`, text)));
console.log(`found ${(await store.get('thing 0')) === text}`);
execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited']);
await put('last', text);
await stores.stop();
