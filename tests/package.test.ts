import { readFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';

const read = (file: string) => JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8'));

it('package.json decides about every install script, so that npm ci asks nothing', () => {
  const packages: Record<string, { hasInstallScript?: boolean }> = read('package-lock.json').packages;
  const withScript = Object.entries(packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript)
    .map(([path]) => path.replace(/^.*node_modules\//, ''));
  const { allowScripts } = read('package.json');
  expect(withScript).toContain('lmdb');
  expect(Object.keys(allowScripts).sort()).toEqual([...new Set(withScript)].sort());
});
