/** node store-copy.js <file> <process>: the script for `renewFile`. */
import { existsSync, statSync } from 'node:fs';
import { open, type RootDatabase } from 'lmdb';
import { openFile, openTable, type Table } from './disk.js';
import { writeCopy } from './renew.js';
import { jsonOf, Tally } from './store-record.js';

const BATCH = 1000;

interface StoredTable {
  readonly name: string;
  readonly table: Table;
  /** What the tally of its records has to be. */
  readonly tally: string;
}

await writeCopy(async (path, copy) => {
  const target = openFile(copy, { noSync: true });
  for (const { name, table, tally } of existsSync(path) ? tablesOf(path) : []) {
    await copyTable(table, openTable(target.root, name), tally);
    await target.tallies.put(name, tally);
  }
  await target.root.close();
});

/** The tables of all stores. They are open before the first is read: to open one would break off what is being read. */
function tablesOf(path: string): StoredTable[] {
  if (!statSync(path).isFile()) throw new Error('it is not a file');
  const root = open({ path, readOnly: true, maxDbs: 32 });
  const names = new Set([...root.getKeys()].map(String));
  if (!names.delete('tallies')) throw new Error('its table "tallies" is missing');
  const tallies = root.openDB<string, string>({ name: 'tallies' });
  const found = [...tallies.getRange()].map(({ key, value }) => {
    const name = String(key);
    if (!names.delete(`store ${name}`)) throw new Error(`its table "store ${name}" is missing`);
    return { name, table: openTable(root, name), tally: String(value) };
  });
  for (const name of names) requireUnused(root, name);
  return found;
}

/** Throws unless nothing was put into the table: only such tables have no tally. They are not copied. */
function requireUnused(root: RootDatabase, tableName: string): void {
  const [, name] = /^store (.+)$/.exec(tableName) ?? [];
  if (name === undefined) throw new Error(`its table "${tableName}" is not known to this version`);
  for (const _ of openTable(root, name).getKeys({ limit: 1 }))
    throw new Error(`the tally of its table "${tableName}" is missing`);
}

async function copyTable(source: Table, target: Table, expected: string): Promise<void> {
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
