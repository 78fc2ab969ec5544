// node clients/js/build.js <folder>: the client as a module, as a plain script, and its types in one file.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? 'dist');
const { version } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));

const { build } = await import('esbuild').catch(() => {
  console.error(`The tools to build it are missing: run npm ci in ${resolve(here, '../..')} first.`);
  process.exit(1);
});

const common = {
  bundle: true,
  minify: true,
  target: 'es2022',
  banner: { js: `/*! postroom-client ${version}, MIT */` },
  logLevel: 'warning',
};
rmSync(folder, { recursive: true, force: true });
await build({
  ...common,
  entryPoints: [join(here, 'src/postroom.ts')],
  format: 'esm',
  outfile: join(folder, 'postroom.js'),
});
await build({
  ...common,
  entryPoints: [join(here, 'src/global.ts')],
  format: 'iife',
  outfile: join(folder, 'postroom.global.js'),
});

const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
execFileSync(process.execPath, [tsc, '-p', here, '--outDir', folder], { stdio: 'inherit' });
// One file, so that a page without npm can keep it beside the script.
const types = readFileSync(join(folder, 'types.d.ts'), 'utf8');
const main = readFileSync(join(folder, 'postroom.d.ts'), 'utf8').replace(/^.* from '\.\/types\.js';\n/gm, '');
for (const file of readdirSync(folder)) if (file.endsWith('.d.ts')) rmSync(join(folder, file));
writeFileSync(join(folder, 'postroom.d.ts'), `// postroom-client ${version}, MIT\n${types}${main}`);
