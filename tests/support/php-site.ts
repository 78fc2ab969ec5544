import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach } from '@jest/globals';
import { freePort, newDirectory } from './broker.js';

export interface PhpSite {
  /** e.g. `http://127.0.0.1:23456/` */
  readonly url: string;
  /** What PHP has logged so far: its notices and errors, what error_log() gets, and one line for each request. */
  output(): string;
  /** Resolves when PHP has logged this. */
  logged(what: RegExp | string): Promise<void>;
}

const clientFolder = fileURLToPath(new URL('../../clients/php', import.meta.url));
const running = new Set<() => Promise<void>>();

afterEach(async () => {
  await Promise.all([...running].map(stop => stop()));
  running.clear();
});

/**
 * One PHP script that answers every request, served by `php -S`. It finds Postroom.php by its name, and where the README
 * says that a checkout is.
 * @param ini further settings of PHP, as `name=value`
 */
export async function servePhp(
  script: string,
  env: Record<string, string> = {},
  ini: readonly string[] = [],
): Promise<PhpSite> {
  const directory = newDirectory('php-site');
  writeFileSync(join(directory, 'index.php'), script.replace('/path/to/postroom/clients/php/', ''));
  const port = await freePort();
  const settings = [
    'error_reporting=-1',
    'display_errors=0',
    'log_errors=1',
    `include_path=${clientFolder}`,
    ...ini,
  ];
  const child = spawn(
    'php',
    [...settings.flatMap(setting => ['-d', setting]), '-S', `127.0.0.1:${port}`, 'index.php'],
    { cwd: directory, env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let output = '';
  let ended = false;
  let changed = () => {};
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    changed();
  });
  const gone = new Promise<void>(resolve => {
    child.once('close', () => {
      ended = true;
      changed();
      resolve();
    });
  });
  running.add(() => {
    child.kill('SIGKILL');
    return gone;
  });
  const logged = async (what: RegExp | string) => {
    while (output.match(what) === null) {
      if (ended) throw new Error(`PHP has ended. It logged:\n${output}`);
      await new Promise<void>(resolve => {
        changed = resolve;
      });
    }
  };
  await logged('Development Server');
  return { url: `http://127.0.0.1:${port}/`, output: () => output, logged };
}
