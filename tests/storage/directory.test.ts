import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import { DiskJournal } from '../../src/journal/disk.js';
import { systemClock } from '../../src/model/clock.js';
import { StartError } from '../../src/model/start-error.js';
import { DataDirectory } from '../../src/storage/directory.js';
import { following, notification } from '../journal/journal-contract.js';
import { makeStores, newDirectory, openStores } from './disk-stores.js';

const USES_DIRECTORY = fileURLToPath(new URL('use-directory.js', import.meta.url));
const IN_USE = /^Another process is using .*DATA_DIR of its own\.$/;
const IS_FILE = /is a file, not a directory; choose another DATA_DIR/;
const NOT_WRITABLE = /^The directory .* cannot be written \(.+\); .*another DATA_DIR\.$/;

/** What another process says that wants to use it: `used`, or why it cannot. */
function saidByAnother(path: string): string {
  const { stdout, stderr } = spawnSync(process.execPath, [USES_DIRECTORY, path], { encoding: 'utf8' });
  return stdout.trim() || stderr;
}

describe('a data directory', () => {
  it('is made where it is not there, and its parents with it', async () => {
    const path = join(newDirectory(), 'a', 'b');
    const directory = new DataDirectory(path);
    await directory.use();
    expect(existsSync(path)).toBe(true);
    await directory.release();
  });

  it('is for one process at a time', async () => {
    const path = newDirectory();
    expect(saidByAnother(path)).toBe('used');
    const directory = new DataDirectory(path);
    await directory.use();
    expect(saidByAnother(path)).toMatch(IN_USE);
    await directory.release();
    expect(saidByAnother(path)).toBe('used');
  });

  it('is kept until all who use it have released it', async () => {
    const path = newDirectory();
    const directory = new DataDirectory(path);
    await Promise.all([directory.use(), directory.use()]);
    await directory.use();
    for (let users = 3; users > 0; users--) {
      await expect(new DataDirectory(path).use()).rejects.toThrow(IN_USE);
      await directory.release();
    }
    await useAndRelease(new DataDirectory(path));
  });

  it('refuses all who want it at once while another has it, and none of them later', async () => {
    const path = newDirectory();
    const other = new DataDirectory(path);
    await other.use();
    const directory = new DataDirectory(path);
    const results = await Promise.allSettled([1, 2, 3].map(() => directory.use()));
    expect(results.map(result => result.status === 'rejected' && String(result.reason))).toEqual(
      Array(3).fill(expect.stringContaining('Another process is using')),
    );
    await other.release();
    await directory.use();
    await expect(other.use()).rejects.toThrow(IN_USE);
    await directory.release();
    await useAndRelease(other);
  });

  it('may be used again at once by who has just begun to release it, and is kept then', async () => {
    const path = newDirectory();
    const directory = new DataDirectory(path);
    await directory.use();
    for (let round = 0; round < 20; round++) {
      const released = directory.release();
      for (let microtask = 0; microtask < round % 10; microtask++) await undefined;
      await directory.use();
      await released;
      await expect(new DataDirectory(path).use()).rejects.toThrow(IN_USE);
    }
    await directory.release();
    await useAndRelease(new DataDirectory(path));
  });

  it('is shared by the journal and the stores of one process, until both have stopped', async () => {
    const path = newDirectory();
    const directory = new DataDirectory(path);
    const journal = new DiskJournal({
      directory,
      retention: { seconds: 600, bytes: 1e6 },
      clock: systemClock,
      stopping: new AbortController().signal,
      log: pino({ level: 'silent' }),
    });
    const [stores] = await Promise.all([openStores(directory), journal.follow(following(() => undefined))]);
    const store = stores.open<number>('things');
    await Promise.all([store.put('a', 1), journal.append(notification('1'))]);
    expect(saidByAnother(path)).toMatch(IN_USE);
    await journal.close();
    expect(saidByAnother(path)).toMatch(IN_USE);
    await store.put('b', 2);
    await stores.stop();
    expect(saidByAnother(path)).toBe('used');
    const next = await openStores(path);
    expect(await next.open('things').range('', 'z', 10)).toEqual([
      ['a', 1],
      ['b', 2],
    ]);
  });

  it('is refused with a sentence where something else is in its place', async () => {
    const file = join(newDirectory(), 'file');
    writeFileSync(file, '');
    for (const path of [file, join(file, 'below')]) {
      await expect(new DataDirectory(path).use()).rejects.toThrow(IS_FILE);
      await expect(makeStores(path).start()).rejects.toThrow(IS_FILE);
      await expect(makeStores(path).start()).rejects.toBeInstanceOf(StartError);
    }
  });

  it('is refused with a sentence where it cannot be written, and where its parent cannot', async () => {
    // There not even root may make a file.
    const forbidden = process.platform === 'linux' ? '/sys' : '/System';
    for (const path of [forbidden, join(forbidden, 'below')]) {
      await expect(new DataDirectory(path).use()).rejects.toThrow(NOT_WRITABLE);
      await expect(makeStores(path).start()).rejects.toThrow(NOT_WRITABLE);
    }
  });
});

async function useAndRelease(directory: DataDirectory): Promise<void> {
  await directory.use();
  await directory.release();
}
