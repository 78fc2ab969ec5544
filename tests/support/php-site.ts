import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach } from '@jest/globals';
import { type Broker, freePort, newDirectory, startBroker } from './broker.js';

export interface PhpSite {
  /** e.g. `http://127.0.0.1:23456/` */
  readonly url: string;
  /** What PHP has logged so far: its notices and errors, and one line for each request. */
  output(): string;
}

const running = new Set<Broker>();

afterEach(async () => {
  await Promise.all([...running].map(site => site.stop()));
  running.clear();
});

/** One PHP script that answers every request, served by `php -S`. It finds Postroom.php by its name. */
export async function servePhp(script: string, env: Record<string, string> = {}): Promise<PhpSite> {
  const directory = newDirectory('php-site');
  writeFileSync(join(directory, 'index.php'), script);
  const port = await freePort();
  const client = fileURLToPath(new URL('../../clients/php', import.meta.url));
  const settings = ['error_reporting=-1', 'display_errors=0', 'log_errors=1', `include_path=${client}`];
  const site = await startBroker(port, [
    {
      program: 'php',
      args: [...settings.flatMap(setting => ['-d', setting]), '-S', `127.0.0.1:${port}`, 'index.php'],
      directory,
      env,
      ready: /Development Server/,
    },
  ]);
  running.add(site);
  return { url: `http://127.0.0.1:${port}/`, output: site.output };
}
