import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';

// The rule of docs/architecture.md: imports point down only, and folders of one layer never import each other.
const LAYERS = [
  ['model'],
  ['unix', 'redis'],
  ['storage', 'backend'],
  ['auth', 'journal', 'http', 'cluster'],
  ['core'],
  ['sources', 'clients', 'ops', 'webhooks'],
  ['.'],
] as const;
// The composition root, and the files beside it that put parts of one kind together.
const COMPOSITION = ['server.ts', 'backend-parts.ts', 'listeners.ts', 'ways-in.ts'];
const READS_ENVIRONMENT = ['config.ts', 'main.ts'];
/** Known import rings, each with its reason. Empty is right. */
const KNOWN_RINGS: string[] = [];

const root = fileURLToPath(new URL('../src', import.meta.url));
const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.ts') && !file.endsWith('.d.ts'))
  .sort();
const sources = new Map(files.map(file => [file, readFileSync(join(root, file), 'utf8')]));
const imports = new Map([...sources].map(([file, source]) => [file, importsOf(file, source)]));

/** Our files that a file imports, types included: `from './x.js'`, `import './x.js'`, `import('./x.js')`. */
function importsOf(file: string, source: string): string[] {
  const specifiers = source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g);
  return [...specifiers].map(([, path = '']) => join(dirname(file), path).replace(/\.js$/, '.ts'));
}

function folderOf(file: string): string {
  return dirname(file).split('/')[0] ?? '.';
}

function layerOf(file: string): number {
  return LAYERS.findIndex(folders => folders.some(folder => folder === folderOf(file)));
}

/** Imports that break a rule, as `a.ts → b.ts`. */
function broken(rule: (from: string, to: string) => boolean): string[] {
  return [...imports].flatMap(([from, to]) =>
    to.filter(target => !rule(from, target)).map(target => `${from} → ${target}`),
  );
}

/** Every ring of imports once, beginning with its first file. */
function rings(): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]) => {
    const at = path.indexOf(file);
    if (at >= 0) {
      found.push([...path.slice(at), file].join(' → '));
      return;
    }
    if (done.has(file)) return;
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  return found;
}

describe('the house', () => {
  it('is read whole', () => {
    expect(files.length).toBeGreaterThan(20);
    const all = [...imports.values()].flat();
    expect(all.length).toBeGreaterThan(50);
    expect(all.filter(target => !sources.has(target) && !target.endsWith('.d.ts'))).toEqual([]);
    expect(imports.get('main.ts')).toContain('server.ts');
    expect(imports.get('core/coalescer.ts')).toContain('core/connection.ts');
  });

  it('has no folder without a layer', () => {
    expect(files.filter(file => layerOf(file) < 0)).toEqual([]);
  });

  it('imports downwards only', () => {
    expect(broken((from, to) => layerOf(to) <= layerOf(from))).toEqual([]);
  });

  it('never imports from one folder of a layer into another', () => {
    const apart = (from: string, to: string) =>
      layerOf(from) !== layerOf(to) || folderOf(from) === folderOf(to);
    expect(broken(apart)).toEqual([]);
  });

  it('lets the composition root and the files of its parts alone import what a folder shows', () => {
    const isIndex = (file: string) => file.endsWith('/index.ts');
    expect(broken((from, to) => !isIndex(to) || COMPOSITION.includes(from))).toEqual([]);
  });

  it('has no import rings', () => {
    expect(rings()).toEqual(KNOWN_RINGS);
  });

  it('reads the environment in one place', () => {
    const readers = files.filter(file =>
      /\bprocess\s*(\.|\?\.)\s*env\b|\benv\b.*from 'node:process'/.test(sources.get(file) ?? ''),
    );
    expect(readers.filter(file => !READS_ENVIRONMENT.includes(file))).toEqual([]);
  });

  it('touches no private member of anybody', () => {
    // Names with an underscore are private to ws and Node; ours are `#private`.
    const touched = files.flatMap(file =>
      [...(sources.get(file) ?? '').matchAll(/(?:\.|\[['"])(_\w+)/g)].map(([, name]) => `${file}: ${name}`),
    );
    expect(touched).toEqual([]);
  });

  it('has no global state to set', () => {
    const set = files.filter(file => /\bglobalThis\b|^export let /m.test(sources.get(file) ?? ''));
    expect(set).toEqual([]);
  });
});
