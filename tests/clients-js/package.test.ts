import { readdirSync, readFileSync } from 'node:fs';
import { createContext, runInContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';

const LARGEST = 3_450;
const folder = new URL('../../dist/client/', import.meta.url);
const read = (file: string) => readFileSync(new URL(file, folder), 'utf8');

describe('the built client', () => {
  it.each(['postroom.js', 'postroom.global.js'])(`%s is ${LARGEST} bytes at most, gzipped`, file => {
    const size = gzipSync(read(file), { level: 9 }).length;
    expect(size).toBeGreaterThan(1_000);
    expect(size).toBeLessThanOrEqual(LARGEST);
  });

  it('is two scripts and their types, nothing else', () => {
    expect(readdirSync(folder).sort()).toEqual(['postroom.d.ts', 'postroom.global.js', 'postroom.js']);
    expect(read('postroom.d.ts')).not.toMatch(/\bfrom '|\bimport\b/);
  });

  it('is a module that exports one function', async () => {
    const client = await import(new URL('postroom.js', folder).href);
    expect(Object.keys(client)).toEqual(['postroom']);
    expect(typeof client.postroom).toBe('function');
  });

  it('is a script that leaves one global behind', () => {
    const page = createContext({});
    runInContext(read('postroom.global.js'), page);
    expect(Object.keys(page)).toEqual(['postroom']);
  });

  it('depends on nothing', () => {
    const url = new URL('../../clients/js/package.json', import.meta.url);
    const { dependencies, peerDependencies } = JSON.parse(readFileSync(url, 'utf8'));
    expect([dependencies, peerDependencies]).toEqual([undefined, undefined]);
    expect(read('postroom.js')).not.toMatch(/\bimport\b|\brequire\b/);
  });
});
