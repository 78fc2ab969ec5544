import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { open as openLmdb } from 'lmdb';
import { pino } from 'pino';
import { DiskJournal } from '../../src/journal/disk.js';
import { DataDirectory } from '../../src/storage/directory.js';
import type { Entry } from '../../src/model/notification.js';
import { weigh } from '../../src/model/notification-codec.js';
import type { Retention } from '../../src/model/retention.js';
import { following, journalContract, notification } from './journal-contract.js';
import { clockOf } from '../support/clock.js';

const START = 1_763_856_000_000;
const AMPLE: Retention = { seconds: 600, bytes: 64 * 1024 * 1024 };
const log = pino({ level: 'silent' });

const directories: string[] = [];
const journals: DiskJournal[] = [];

afterEach(async () => {
  for (const journal of journals.splice(0)) await journal.close();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'journal-'));
  directories.push(directory);
  return directory;
}

function make(directory: string, retention = AMPLE, now = () => START): DiskJournal {
  const journal = new DiskJournal({
    directory: new DataDirectory(directory),
    retention,
    clock: clockOf(now),
    stopping: new AbortController().signal,
    log,
  });
  journals.push(journal);
  return journal;
}

async function open(directory: string, retention = AMPLE, now = () => START) {
  const journal = make(directory, retention, now);
  const delivered: Entry[] = [];
  const floor = await journal.follow(following(entry => delivered.push(entry)));
  return { journal, delivered, floor };
}

journalContract('disk', ({ retention, now }) => make(newDirectory(), retention, now));

describe('the past on the disk', () => {
  it('is delivered again, whole and in order, by the next one', async () => {
    const directory = newDirectory();
    const first = await open(directory);
    const full = notification('{"a":1.0,"b":"付款"}', {
      addresses: ['room:房间', 'everyone'],
      except: ['3.4'],
      key: 'k',
      ttl: 60,
    });
    await first.journal.append(full);
    await Promise.all(Array.from({ length: 3000 }, (_, i) => first.journal.append(notification(String(i)))));
    await first.journal.close();

    const second = await open(directory);
    expect(second.delivered).toEqual(first.delivered);
    expect(second.floor).toBe(first.floor);
    expect(second.delivered[0]?.notification).toEqual(full);
  });

  it('keeps ids increasing and keys known, also when the clock went back in between', async () => {
    const directory = newDirectory();
    const first = await open(directory);
    const { id } = await first.journal.append(notification('1', { key: 'k' }));
    await first.journal.close();

    const second = await open(directory, AMPLE, () => START - 3_600_000);
    expect(await second.journal.append(notification('2', { key: 'k' }))).toEqual({
      id,
      duplicate: true,
    });
    expect((await second.journal.append(notification('3'))).id).toBe(`${START}-2`);
  });

  it('is trimmed by bytes: the oldest go, their keys with them, and the point before which all is gone stays', async () => {
    const directory = newDirectory();
    const first = await open(directory);
    const ids: string[] = [];
    for (let i = 0; i < 1200; i++)
      ids.push((await first.journal.append(notification(String(i), { key: `k${i}` }))).id);
    await first.journal.close();

    // The next journal has room for some tens of entries. It trims in the background, and close waits for that.
    const second = await open(directory, { seconds: 600, bytes: 20_000 });
    await second.journal.trim();
    await second.journal.close();

    const third = await open(directory);
    const kept = third.delivered.length;
    expect(kept).toBeGreaterThan(20);
    expect(kept).toBeLessThan(80);
    expect(third.delivered.map(entry => entry.id)).toEqual(ids.slice(-kept));
    expect(third.floor).toBe(ids.at(-kept - 1));
    const oldestKey = `k${1200 - kept}`;
    expect(await third.journal.append(notification('x', { key: oldestKey }))).toMatchObject({
      duplicate: true,
    });
    expect(await third.journal.append(notification('x', { key: 'k0' }))).toMatchObject({ duplicate: false });
  });

  it('keeps to its bytes also when entries come while it is trimmed', async () => {
    const small = { seconds: 600, bytes: 200_000 };
    const { journal } = await open(newDirectory(), small);
    const data = JSON.stringify('x'.repeat(500));
    const publisher = async () => {
      for (let i = 0; i < 100; i++) await journal.append(notification(data));
    };
    let isPublishing = true;
    const trimmer = async () => {
      while (isPublishing) await journal.trim();
    };
    const trimming = trimmer();
    await Promise.all(Array.from({ length: 20 }, publisher));
    isPublishing = false;
    await trimming;
    await journal.trim();
    await journal.close();
    const next = await open(directories.at(-1) ?? '', small);
    const kept = next.delivered.reduce((sum, entry) => sum + weigh(entry.notification), 0);
    expect(kept).toBeLessThanOrEqual(small.bytes);
    expect(kept).toBeGreaterThan(small.bytes / 2);
  });

  it('is trimmed by age, and what is appended later still gets a later id', async () => {
    const directory = newDirectory();
    const first = await open(directory);
    await first.journal.append(notification('old'));
    await first.journal.close();

    let now = START + 601_000;
    const second = await open(directory, AMPLE, () => now);
    await second.journal.trim();
    await second.journal.close();
    now = START - 1;
    const third = await open(directory, AMPLE, () => now);
    expect(third.delivered).toEqual([]);
    expect(third.floor).toBe(`${START}-1`);
    expect((await third.journal.append(notification('new'))).id).toBe(`${START}-2`);
  });
});

describe('an entry that cannot be delivered', () => {
  it('keeps none of those that were committed with it from theirs', async () => {
    const delivered: string[] = [];
    const journal = make(newDirectory());
    const follower = following(({ notification: { data } }) => {
      if (data === '1') throw new Error('a fault of ours');
      delivered.push(data);
    });
    await journal.follow(follower);
    const appended = await Promise.all(['0', '1', '2'].map(data => journal.append(notification(data))));
    expect(appended.every(({ duplicate }) => !duplicate)).toBe(true);
    expect(delivered).toEqual(['0', '2']);
  });
});

describe('a journal that version 0.2 has left', () => {
  it('is taken over whole, with its keys and the point that it begins after', async () => {
    const directory = newDirectory();
    const root = openLmdb({ path: join(directory, 'journal.lmdb'), maxDbs: 3, noMetaSync: true });
    const [entries, keys, meta] = ['entries', 'keys', 'meta'].map(name => root.openDB({ name }));
    const data = '{"b":1.0,"a":"付款"}';
    await meta?.put('floor', `${START - 5}-3`);
    await meta?.put('probe', `${START}-0`);
    await entries?.put([START, 0], [['room:a', 'user:b'], 'paid', data, ['1.1'], 'k', 60]);
    await entries?.put([START, 1], [['everyone'], 'e', 'null', [], null, null]);
    await keys?.put('k', `${START}-0`);
    await root.close();

    const first = await open(directory);
    expect(first.floor).toBe(`${START - 5}-3`);
    expect(first.delivered).toEqual([
      {
        time: START,
        sequence: 0,
        id: `${START}-0`,
        notification: {
          addresses: ['room:a', 'user:b'],
          event: 'paid',
          data,
          except: ['1.1'],
          key: 'k',
          ttl: 60,
        },
      },
      {
        time: START,
        sequence: 1,
        id: `${START}-1`,
        notification: notification('null', { addresses: ['everyone'] }),
      },
    ]);
    const again = notification('2', { key: 'k', addresses: ['room:a', 'user:b'], event: 'paid' });
    expect(await first.journal.append(again)).toMatchObject({ id: `${START}-0`, duplicate: true });
    await first.journal.append(notification('3'));
    await first.journal.close();
    const second = await open(directory);
    expect(second.delivered).toEqual(first.delivered);
  });
});

describe('a journal whose file is removed while it is in use', () => {
  it('takes nothing more', async () => {
    const directory = newDirectory();
    const { journal } = await open(directory);
    await journal.append(notification('1'));
    rmSync(join(directory, 'journal.lmdb'));
    await journal.trim();
    expect(journal.status().available).toBe(false);
    await expect(journal.append(notification('2'))).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('a directory that cannot be used', () => {
  it('because another process has it', async () => {
    const directory = newDirectory();
    const first = await open(directory);
    await expect(make(directory).follow(following(() => undefined))).rejects.toThrow(
      /Another process is using .*DATA_DIR of its own/,
    );
    await first.journal.close();
    const next = await open(directory);
    expect(next.journal.status().available).toBe(true);
  });

  it('because another one was started in the same instant, after one that was killed', async () => {
    const directory = newDirectory();
    const crashed = `require('node:net').createServer().listen('${directory}/lock.sock', () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', crashed]);
    const starts = await Promise.allSettled(
      [1, 2, 3].map(() => make(directory).follow(following(() => undefined))),
    );
    expect(starts.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
  });

  it('because a file is in its place', async () => {
    const file = join(newDirectory(), 'file');
    writeFileSync(file, '');
    await expect(make(file).follow(following(() => undefined))).rejects.toThrow(
      /is a file, not a directory; choose another DATA_DIR/,
    );
  });

  it('because its path is too long for the lock', async () => {
    const deep = join(newDirectory(), 'x'.repeat(120));
    await expect(make(deep).follow(following(() => undefined))).rejects.toThrow(
      /too long .*shorter DATA_DIR/,
    );
  });

  it.each<[string, (path: string) => void]>([
    ['is something else', path => writeFileSync(path, 'this was never a database'.repeat(1000))],
    ['was cut off', path => truncateSync(path, 3 * 4096)],
    ['was overwritten', path => overwrite(path, 2 * 4096)],
  ])(
    'because the journal in it %s; it is left as it is, and its lock is free again',
    async (_what, damage) => {
      const directory = newDirectory();
      const path = join(directory, 'journal.lmdb');
      const { journal } = await open(directory);
      await Promise.all(Array.from({ length: 2000 }, (_, i) => journal.append(notification(String(i)))));
      await journal.close();
      damage(path);
      const before = readFileSync(path);
      for (let twice = 0; twice < 2; twice++)
        await expect(make(directory).follow(following(() => undefined))).rejects.toThrow(
          /cannot be opened: .*move it away/,
        );
      expect(readFileSync(path).equals(before)).toBe(true);
    },
  );
});

/** Overwrites everything from an offset on with noise. */
function overwrite(path: string, from: number): void {
  const bytes = readFileSync(path);
  bytes.fill(0xa5, from);
  writeFileSync(path, bytes);
}
