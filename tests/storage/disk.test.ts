import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { describeWith } from '../support/requires.js';
import { makeStores, newDirectory, openStores } from './disk-stores.js';
import { durableContract } from './durable-contract.js';
import { storeContract } from './store-contract.js';

const PUT_UNTIL_FULL = fileURLToPath(new URL('put-until-full.js', import.meta.url));
// To the process a disk is full where a file may not grow: 2 MiB here. The signal that comes with it is for others.
const FULL_AT_2_MIB = `trap '' XFSZ; ulimit -S -f 4096; exec "$0" "$@"`;

storeContract('disk', () => makeStores(newDirectory()));

durableContract('disk', () => {
  const directory = newDirectory();
  return { open: () => openStores(directory), words: ['disk', directory] };
});

describe('stores on the disk', () => {
  it('can be opened while others are being changed', async () => {
    const stores = await openStores(newDirectory());
    const first = stores.open<number>('first');
    const putting = Array.from({ length: 2000 }, (_, number) => first.put(`key ${number}`, number));
    await first.put('in between', 1);
    putting.push(...Array.from({ length: 2000 }, (_, number) => first.put(`key ${number}`, -number - 1)));
    const second = stores.open<number>('second');
    const third = stores.open<number>('third');
    await Promise.all([second.put('a', 1), third.put('a', 2), ...putting]);
    expect([await second.get('a'), await third.get('a'), await first.get('key 7')]).toEqual([1, 2, -8]);
  });

  it('do not count those that nothing was ever put into', async () => {
    const directory = newDirectory();
    for (let round = 0; round < 3; round++) {
      const stores = await openStores(directory);
      for (let number = 0; number < 10; number++) stores.open(`unused-${round}-${number}`);
      await stores.stop();
    }
    const stores = await openStores(directory);
    await stores.open('things').put('a', 1);
    expect(await stores.open('things').get('a')).toBe(1);
  });

  it('do not call their file damaged where the server is to stop while it is opened', async () => {
    const directory = newDirectory();
    writeFileSync(join(directory, 'stores.lmdb'), 'nothing that could be opened');
    const stopping = new AbortController();
    const starting = makeStores(directory, stopping.signal).start();
    stopping.abort();
    await expect(starting).rejects.toThrow(/^Postroom was told to stop while it opened its stores\.$/);
    await expect(makeStores(directory).start()).rejects.toThrow(/cannot be opened/);
  });

  it('take nothing more once their file was removed: what is written then is lost', async () => {
    const directory = newDirectory();
    const stores = await openStores(directory);
    const store = stores.open<number>('things');
    await store.put('a', 1);
    rmSync(join(directory, 'stores.lmdb'));
    await expect(store.put('b', 2)).rejects.toThrow(/cannot be written: .*was removed .*restart the server/);
    await expect(store.remove('a')).rejects.toThrow(/was removed/);
  });
});

describeWith(['prlimit'], 'stores on a full disk', () => {
  it('refuse what they cannot keep, and take more as soon as there is room', async () => {
    const directory = newDirectory();
    const command = ['-c', FULL_AT_2_MIB, process.execPath, PUT_UNTIL_FULL, directory];
    const { stdout } = spawnSync('sh', command, { encoding: 'utf8' });
    const lines = stdout.trim().split('\n');
    const kept = lines.flatMap(line => /^put (.*)/.exec(line)?.[1] ?? []);
    const refused = lines.flatMap(line => /^refused (.*?): (.*)/.exec(line)?.slice(1, 3) ?? []);
    expect(kept.length).toBeGreaterThan(20);
    expect(kept).toContain('last');
    expect(refused.length).toBeGreaterThan(2 * 90);
    for (const [index, word] of refused.entries())
      if (index % 2 === 1) expect(word).toMatch(/^the stores cannot be written: (?!Commit failed)./);
    expect(lines).toContain('found true');
    const next = (await openStores(directory)).open<string>('things');
    const found = new Map(await next.range('', 'z', 1000));
    for (const key of kept) expect(found.get(key)).toBe('x'.repeat(20_000));
    for (const key of found.keys()) expect([...kept, ...refused]).toContain(key);
  });
});
