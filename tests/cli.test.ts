import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { startProcess } from './support/process.js';

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'postroom-cli-'));
  // A program that reads it ends with 1.
  writeFileSync(join(directory, '.env'), 'PORT=not a port');
});

afterEach(() => rmSync(directory, { recursive: true }));

/** Runs the real program in a folder whose settings are wrong. It must leave the folder as it was. */
function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    cwd: directory,
    env: { PATH: process.env.PATH },
    encoding: 'utf8',
    timeout: 10_000,
  });
  expect(readdirSync(directory)).toEqual(['.env']);
  return { status, stdout, stderr };
}

describe('the command line', () => {
  it.each([['--help'], ['-h'], ['start', '--help'], ['--version', '--help']])('%s %s explains', (...args) => {
    const { status, stdout, stderr } = run(...args.filter(Boolean));
    expect([status, stderr]).toEqual([0, '']);
    for (const part of ['POST /notify', 'postroom [start]', '--version', 'environment', '.env', 'README.md'])
      expect(stdout).toContain(part);
    for (const path of stdout.match(/\/\S+\.md|\/\S+\.env\.example|\/\S+\/docs/g) ?? [])
      expect(readdirSync(join(path, '..'))).toContain(path.split('/').pop());
  });

  it('help does the same as --help', () => {
    expect(run('help')).toEqual(run('--help'));
  });

  it.each(['--version', '-v'])('%s prints the version', option => {
    expect(run(option)).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  });

  it.each([
    [['foo'], 'unknown command foo'],
    [['start', 'foo'], 'unknown command foo'],
    [['start', 'start'], 'unknown command start'],
    [['foo', '--help'], 'unknown command foo'],
    [['--bar'], 'unknown option --bar'],
    [['start', '--bar=1'], 'unknown option --bar'],
    [['-hx'], 'unknown option -x'],
    [['--toString'], 'unknown option --toString'],
    [['--help=yes'], '--help takes no value'],
    [['--'], 'unknown option --'],
  ])('%j is refused', (args, sentence) => {
    const hint = sentence.includes('option')
      ? ' Settings come from the environment: PORT=9000 postroom.'
      : '';
    const stderr = `postroom: ${sentence}.${hint} See postroom --help.\n`;
    expect(run(...args)).toEqual({ status: 2, stdout: '', stderr });
  });

  it('start starts the server', async () => {
    const server = await startProcess({}, undefined, ['sh', '-c', 'exec "$@" start', 'sh']);
    expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
    expect(await server.stop()).toBe(0);
  });
});
