import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'postroom-pack-'));
const app = join(folder, 'app');
const installed = join(app, 'node_modules/postroom-client');

/** A program as in an application. It includes a line that TypeScript must refuse: empty types would accept it. */
const PROGRAM = `
export const room: Postroom = postroom('wss://example.com/ws?room=orders', { token: async () => 'a.b.c' });
room.on<{ order: number }>('order.paid', (data, frame) => [data.order.toFixed(), frame.id.length]);
room.members<{ name: string }>('presence.chat').list?.map(({ user, info }) => user.length + (info?.name.length ?? 0));
room.on('typing', (_, { from }) => [from?.connection.length, from?.user?.length]);
room.publish('chat.1', 'typing', { on: true }, { ttl: 60 }).then(({ id }) => id.length);
room.call<{ count: number }>('cart.add').then(cart => cart.count.toFixed(), ({ code }: Refusal) => code.length);
// @ts-expect-error: a room is a string
room.subscribe(1);
// @ts-expect-error: there is no such option
room.publish('chat.1', 'typing', null, { tll: 60 });
`;
const imports = (from: string) => `import { type Postroom, postroom, type Refusal } from '${from}';\n`;

/** Runs a program to its end, without the settings of the npm that runs these tests. If it fails, shows its output. */
function run(cwd: string, program: string, ...args: string[]): string {
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, npm_config_cache: join(folder, 'cache'), npm_config_offline: 'true' };
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

function check(file: string, moduleResolution: string): void {
  const module = moduleResolution === 'bundler' ? 'esnext' : moduleResolution;
  const options = ['--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2022', '--types', ''];
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const resolution = ['--module', module, '--moduleResolution', moduleResolution];
  run(app, process.execPath, tsc, ...options, ...resolution, file);
}

beforeAll(() => {
  mkdirSync(app);
  run(root, 'npm', 'pack', './clients/js', '--silent', '--pack-destination', folder);
  const tarball = readdirSync(folder).find(file => /^postroom-client-[\d.]+\.tgz$/.test(file)) ?? '';
  writeFileSync(join(app, 'package.json'), '{ "private": true, "type": "module" }');
  run(app, 'npm', 'install', '--no-audit', '--no-fund', join(folder, tarball));
}, 60_000);

afterAll(() => rmSync(folder, { recursive: true }));

describe('the package postroom-client, packed and installed', () => {
  it('has the scripts, their types, the license and the README', () => {
    for (const file of ['LICENSE', 'README.md', 'dist/postroom.js', 'dist/postroom.global.js'])
      expect([file, existsSync(join(installed, file))]).toEqual([file, true]);
    expect(readdirSync(installed).sort()).toEqual(['LICENSE', 'README.md', 'dist', 'package.json']);
  });

  it('can be imported', () => {
    const program = `import { postroom } from 'postroom-client'; console.log(typeof postroom);`;
    expect(run(app, process.execPath, '--input-type=module', '-e', program)).toBe('function\n');
  });

  it.each(['bundler', 'nodenext'])('has types that moduleResolution %s finds', moduleResolution => {
    writeFileSync(join(app, 'program.ts'), imports('postroom-client') + PROGRAM);
    check('program.ts', moduleResolution);
  });

  it('has types that serve beside the module, as a server gives both', () => {
    copyFileSync(join(root, 'dist/client/postroom.js'), join(app, 'client.mjs'));
    copyFileSync(join(root, 'dist/client/postroom.d.ts'), join(app, 'client.d.mts'));
    writeFileSync(join(app, 'beside.ts'), imports('./client.mjs') + PROGRAM);
    check('beside.ts', 'nodenext');
  });
});
