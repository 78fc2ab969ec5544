import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach } from '@jest/globals';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const startSeconds = 12;

export type Environment = Record<string, string | undefined>;

export interface ServerProcess {
  /** e.g. `http://127.0.0.1:43123` */
  url: string;
  port: number;
  /** The first of NOTIFY_KEYS, or the key that the server made and printed. */
  key: string;
  /** The folder in which it runs, with `./data`. Give it to another process to start that with the same past. */
  directory: string;
  pid: number;
  /** Everything printed so far on both streams, in order. */
  output(): string;
  /** Resolves when the process is gone: to its exit code, or to null if the signal ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** It ended before it listened. */
export class EndedEarly extends Error {
  /** Null if a signal ended it. */
  readonly code: number | null;
  readonly output: string;

  constructor(code: number | null, output: string) {
    super(`The server ended with code ${code} before it listened. It printed:\n${output}`);
    this.name = 'EndedEarly';
    this.code = code;
    this.output = output;
  }
}

/**
 * The real program, `node dist/main.js`, on a port and in a folder of its own. It listens when this resolves. `wrapper`
 * is a command line that ends by running the program given after it.
 */
export async function startProcess(
  env: Environment = {},
  directory = newDirectory(),
  wrapper: readonly string[] = [],
): Promise<ServerProcess> {
  const child = launch({ PORT: '0', ...env }, directory, wrapper);
  const started = await child.waitFor(lines => {
    const url = listeningAt(lines);
    const key = env.NOTIFY_KEYS?.split(',')[0] ?? printedKey(lines);
    return url && key ? { url, key, port: Number(new URL(url).port) } : undefined;
  });
  return {
    ...started,
    directory,
    pid: child.pid,
    output: child.output,
    stop: child.stop,
  };
}

/** The same program, if it is expected to end by itself. */
export async function runProcess(env: Environment): Promise<{ code: number | null; output: string }> {
  const child = launch(env, newDirectory());
  return { code: await child.exited, output: child.output() };
}

const running = new Set<ChildProcess>();
const directories = new Set<string>();

afterEach(async () => {
  await Promise.all([...running].map(endOf));
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  directories.clear();
});

function endOf(child: ChildProcess): Promise<void> {
  return new Promise(resolve => {
    child.once('close', () => resolve());
    child.kill('SIGKILL');
  });
}

function launch(env: Environment, directory: string, wrapper: readonly string[] = []) {
  if (!existsSync(main)) throw new Error(`${main} is missing: npm run build`);
  const inherited = { PATH: process.env.PATH, HOME: process.env.HOME };
  const [program = process.execPath, ...rest] = [...wrapper, process.execPath, main];
  const child = spawn(program, rest, {
    cwd: directory,
    env: { ...inherited, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);

  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', code => {
      running.delete(child);
      resolve(code);
    });
  });

  return {
    exited,
    pid: child.pid ?? 0,
    output: () => output,
    waitFor: <T>(find: (lines: string) => T | undefined) => waitFor(child, () => output, find),
    stop: (signal: NodeJS.Signals = 'SIGTERM') => {
      child.kill(signal);
      return exited;
    },
  };
}

/** Searches the whole lines printed so far until it finds a match. */
function waitFor<T>(
  child: ChildProcess,
  output: () => string,
  find: (lines: string) => T | undefined,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void) => {
      clearTimeout(deadline);
      child.stdout?.off('data', look);
      end();
    };
    const fail = (error: Error) => settle(() => reject(error));
    const look = () => {
      const found = find(output().slice(0, output().lastIndexOf('\n') + 1));
      if (found !== undefined) settle(() => resolve(found));
    };
    const deadline = setTimeout(() => {
      // Otherwise nobody could stop it.
      child.kill('SIGKILL');
      fail(new Error(`The server did not listen within ${startSeconds} s. It printed:\n${output()}`));
    }, startSeconds * 1000);
    child.stdout?.on('data', look);
    child.once('close', code => fail(new EndedEarly(code, output())));
  });
}

/** The address in the one log line that says `listening`; the banner around it is for people. */
function listeningAt(output: string): string | undefined {
  for (const line of output.split('\n')) {
    if (!line.startsWith('{') || !line.includes('"msg":"listening"')) continue;
    const { url }: { url?: unknown } = JSON.parse(line);
    if (typeof url === 'string') return url;
  }
  return undefined;
}

function printedKey(output: string): string | undefined {
  return /Authorization: Bearer ([^\s'"]+)/.exec(output)?.[1];
}

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'postroom-'));
  directories.add(directory);
  return directory;
}
