import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { renewFile } from '../../src/storage/renew.js';
import { newDirectory } from './disk-stores.js';

const COPIER = fileURLToPath(new URL('copier.js', import.meta.url));
const LONGER_THAN_IT_MAY_MS = 10_000;

/** A file in a directory of its own, with others beside it. */
function makeFile(content?: string): { readonly path: string; names(): string[] } {
  const directory = newDirectory();
  const path = join(directory, 'file');
  if (content !== undefined) writeFileSync(path, content);
  for (const name of ['other', 'lock.sock']) writeFileSync(join(directory, name), 'not touched');
  const others = (name: string) => name !== 'other' && name !== 'lock.sock';
  return { path, names: () => readdirSync(directory).filter(others) };
}

const renew = (path: string, how: string, stopping = new AbortController().signal) =>
  renewFile(COPIER, path, [how], stopping);

describe('a file that is renewed', () => {
  afterEach(() => {
    jest.useRealTimers();
  });

  it('is what its script has written, and alone', async () => {
    const { path, names } = makeFile('x');
    await renew(path, 'copies');
    expect(readFileSync(path, 'utf8')).toBe('copy of x');
    await renew(path, 'copies');
    expect(readFileSync(path, 'utf8')).toBe('copy of copy of x');
    expect(names()).toEqual(['file']);
  });

  it('is made where it is not there', async () => {
    const { path, names } = makeFile();
    await renew(path, 'anew');
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(names()).toEqual(['file']);
  });

  it.each([
    ['fails, and says why', 'fails', /^page 7 is torn$/],
    ['crashes', 'crashes', /^its contents cannot be read$/],
  ])('stays as it was where its script %s', async (_what, how, reason) => {
    const { path, names } = makeFile('x');
    await expect(renew(path, how)).rejects.toThrow(reason);
    expect(readFileSync(path, 'utf8')).toBe('x');
    expect(names()).toEqual(['file']);
    await renew(path, 'copies');
    expect(readFileSync(path, 'utf8')).toBe('copy of x');
  });

  it('is not made where its script fails', async () => {
    const { path, names } = makeFile();
    // There is nothing that it could copy.
    await expect(renew(path, 'copies')).rejects.toThrow(/ENOENT/);
    expect(names()).toEqual([]);
  });

  it('has no copies beside it that scripts which were killed have left', async () => {
    const { path, names } = makeFile('x');
    for (const left of ['.new.123', '.new.123-lock', '.new.4']) writeFileSync(`${path}${left}`, 'half');
    await renew(path, 'copies');
    expect(readFileSync(path, 'utf8')).toBe('copy of x');
    expect(names()).toEqual(['file']);
  });

  it('stays as it was where the server has ended meanwhile: another one may use it', () => {
    const { path, names } = makeFile('x');
    // This process has never started it, so far as it knows.
    const { stdout, status } = spawnSync(process.execPath, [COPIER, path, '1', 'copies'], {
      encoding: 'utf8',
    });
    expect(stdout).toBe('its server has ended\n');
    expect(status).toBe(1);
    expect(readFileSync(path, 'utf8')).toBe('x');
    expect(names().filter(name => !name.endsWith('-lock'))).toEqual(['file']);
  });

  it.each(['before that begins', 'while that is under way'])(
    'stays as it was where the server is to stop %s, and it takes too long',
    async when => {
      const { path, names } = makeFile('x');
      jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'] });
      const stopping = new AbortController();
      if (when === 'before that begins') stopping.abort();
      const refusal = expect(renew(path, 'hangs', stopping.signal)).rejects.toThrow(
        'its contents cannot be read',
      );
      while (!names().some(name => name.endsWith('-lock')))
        await new Promise(resolve => setImmediate(resolve));
      expect(existsSync(path)).toBe(true);
      stopping.abort();
      jest.advanceTimersByTime(LONGER_THAN_IT_MAY_MS);
      await refusal;
      expect(readFileSync(path, 'utf8')).toBe('x');
      expect(names()).toEqual(['file']);
    },
  );

  it('is renewed all the same where the server is to stop and it is nearly done', async () => {
    const { path } = makeFile('x');
    const stopping = new AbortController();
    const renewing = renew(path, 'copies', stopping.signal);
    stopping.abort();
    await renewing;
    expect(readFileSync(path, 'utf8')).toBe('copy of x');
  });
});
