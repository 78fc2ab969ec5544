/** node store-copy.js <file> <process>: the script for `renewFile`. */
import { existsSync, statSync } from 'node:fs';
import { open } from 'lmdb';
import { openFile, openTable } from './disk.js';
import { writeCopy } from './renew.js';
import { jsonOf, Tally } from './store-record.js';

const BATCH = 1000;

await writeCopy(async (path, copy) => {
  const target = openFile(copy, { noSync: true });
  if (existsSync(path)) {
    if (!statSync(path).isFile()) throw new Error('it is not a file');
    const source = open({ path, readOnly: true, maxDbs: 32 });
    const names = [...source.getKeys()].map(String);
    if (!names.includes('tallies')) throw new Error('its table "tallies" is missing');
    const tallies = source.openDB<string, string>({ name: 'tallies' });
    for (const { key: name, value: tally } of tallies.getRange()) {
      if (!names.includes(`store ${name}`)) throw new Error(`its table "store ${name}" is missing`);
      await copyTable(openTable(source, String(name)), openTable(target.root, String(name)), tally);
      await target.tallies.put(String(name), tally);
    }
  }
  await target.root.close();
});

async function copyTable(
  source: ReturnType<typeof openTable>,
  target: ReturnType<typeof openTable>,
  expected: string,
): Promise<void> {
  const tally = new Tally();
  const batch: [Buffer, Buffer][] = [];
  const commit = async () => {
    await target.batch(() => {
      for (const [key, value] of batch.splice(0)) void target.put(key, value);
    });
  };
  for (const { key, value } of source.getRange()) {
    jsonOf(key, value);
    tally.add(value);
    batch.push([key, value]);
    if (batch.length >= BATCH) await commit();
  }
  if (String(tally) !== expected) throw new Error('some of its values are missing');
  await commit();
}
