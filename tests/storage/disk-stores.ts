import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from '@jest/globals';
import { DataDirectory } from '../../src/storage/directory.js';
import { DiskStores } from '../../src/storage/disk.js';

const directories: string[] = [];
const made: DiskStores[] = [];

afterEach(async () => {
  for (const stores of made.splice(0)) await stores.stop();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

/** Removed after the test. */
export function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'stores-'));
  directories.push(directory);
  return directory;
}

/** Stopped after the test. */
export function makeStores(
  directory: string | DataDirectory,
  stopping = new AbortController().signal,
): DiskStores {
  const place = typeof directory === 'string' ? new DataDirectory(directory) : directory;
  const stores = new DiskStores(place, stopping);
  made.push(stores);
  return stores;
}

/** Started, too. */
export async function openStores(directory: string | DataDirectory): Promise<DiskStores> {
  const stores = makeStores(directory);
  await stores.start();
  return stores;
}
