import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect } from '@jest/globals';
import { type Outcome, runPhp } from '../support/commands.js';
import { KEY } from '../support/server.js';

export const clientFolder = fileURLToPath(new URL('../../clients/php/', import.meta.url));

/** For tests that are not about time: a busy machine must not make PHP try again. */
const PATIENT = `['connectTimeoutMs' => 5000, 'timeoutMs' => 5000, 'budgetMs' => 10000]`;

const directories = new Set<string>();

afterEach(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  directories.clear();
});

/** A folder of its own, gone after the test. */
export function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'postroom-php-'));
  directories.add(directory);
  return directory;
}

export interface Settings {
  url?: string;
  key?: string;
  /** PHP source of the options array. By default, times are generous. */
  options?: string;
}

/**
 * Runs PHP code that has a `$postroom` and ends with `return`. Resolves to the returned value, through JSON. Fails the
 * test if PHP prints a notice, a deprecation or an uncaught error.
 */
export async function php<T = unknown>(code: string, settings: Settings = {}): Promise<T> {
  const outcome = await runClient(code, settings);
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  return JSON.parse(outcome.stdout) as T;
}

/** The same, for code that prints to stderr. */
export function runClient(
  code: string,
  { url = 'http://127.0.0.1:9', key = KEY, options = PATIENT }: Settings,
): Promise<Outcome> {
  const script = `<?php
    require_once getenv('CLIENT') . 'Postroom.php';
    $postroom = new Postroom(getenv('POSTROOM_URL'), getenv('POSTROOM_KEY'), ${options});
    /** What a PostroomException says, or what the call returned. */
    function told(callable $call) {
        try {
            return $call();
        } catch (PostroomException $error) {
            return [
                'class' => get_class($error),
                'code' => $error->getProblemCode(),
                'status' => $error->getStatus(),
                'detail' => $error->getDetail(),
                'errors' => $error->getErrors(),
                'message' => $error->getMessage(),
                'retryAfter' => $error->getRetryAfter(),
                'temporary' => $error->isTemporary(),
            ];
        }
    }
    /** How long a call takes, in milliseconds, and what it told. */
    function timed(callable $call): array {
        $start = hrtime(true);
        $told = told($call);
        return ['ms' => (hrtime(true) - $start) / 1e6, 'told' => $told];
    }
    echo json_encode((function () use ($postroom) { ${code} })(), JSON_THROW_ON_ERROR);`;
  return runPhp(script, { CLIENT: clientFolder, POSTROOM_URL: url, POSTROOM_KEY: key });
}

/** What `told()` returns for an exception. */
export interface Told {
  class: string;
  code: string;
  status: number;
  detail: string;
  errors: { path: string; message: string }[];
  message: string;
  retryAfter: number | null;
  temporary: boolean;
}

export interface Timed {
  ms: number;
  told: Told;
}

/** Runs a script as it is, in a PHP that finds Postroom.php by its name. */
export function runAsItStands(script: string, env: Record<string, string>): Promise<Outcome> {
  const directory = newDirectory();
  writeFileSync(join(directory, 'postroom.ini'), `include_path = "${clientFolder}"\n`);
  // The empty part is PHP's own folder, which enables its extensions.
  return runPhp(script, { PHP_INI_SCAN_DIR: `:${directory}`, ...env });
}

/** The fenced block after `<!-- snippet: name -->` in clients/php/README.md. */
export function clientSnippet(name: string): string {
  const readme = readFileSync(join(clientFolder, 'README.md'), 'utf8');
  const block = readme.split(`<!-- snippet: ${name} -->\n`)[1]?.match(/^```php\n([\s\S]*?)\n```/)?.[1];
  if (block === undefined) throw new Error(`clients/php/README.md has no snippet ${name}`);
  return block;
}
