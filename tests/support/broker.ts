import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from '@jest/globals';
import { inPath } from './requires.js';

/** The timeout of a hook that starts or restarts a broker: longer than a broker's own deadline. */
export const BROKER_TIMEOUT = 90_000;

const startSeconds = 60;
const stopSeconds = 20;

/** The common part of all brokers. A broker that a test file starts is gone after that file. */
export interface Broker {
  /** False if the environment names a server: we may not kill it, and it has only `stop`, which does nothing. */
  readonly own: boolean;
  /** The newest process; throws if we never started one. */
  readonly pid: number;
  /** Everything that all processes have printed so far. */
  output(): string;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts again on the same port with the same data. If it still runs, stops it first. Resolves when it is ready. */
  restart(): Promise<void>;
  /** Stops in order (SIGTERM). Resolves when it is gone. `restart` is possible until the end of the test file. */
  stop(): Promise<void>;
  /** Stops the process with all its connections open (SIGSTOP), until `resume`. */
  pause(): void;
  resume(): void;
}

export interface Command {
  program: string;
  args: readonly string[];
  directory: string;
  env?: Record<string, string>;
  /** It prints this when it is ready. */
  ready: RegExp;
}

const running = new Set<Child>();
const directories = new Set<string>();

afterAll(async () => {
  await Promise.all([...running].map(child => child.end('SIGKILL')));
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  directories.clear();
});

/** Starts the commands one after the other, each when the one before is ready. The last is the broker, on `port`. */
export async function startBroker(port: number, commands: readonly Command[]): Promise<Broker> {
  const printed: string[] = [];
  let children: Child[] = [];
  const start = async () => {
    for (const command of commands) {
      const child = new Child(command, text => printed.push(text));
      children.push(child);
      await child.ready();
    }
    await connection(port);
  };
  const end = async (signal: 'SIGTERM' | 'SIGKILL') => {
    for (const child of children.toReversed()) await child.end(signal);
  };

  await start();
  let pid = lastPid(children);
  return {
    own: true,
    get pid() {
      return pid;
    },
    output: () => printed.join(''),
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    async restart() {
      await end('SIGTERM');
      children = [];
      await start();
      pid = lastPid(children);
    },
    pause: () => children.at(-1)?.signal('SIGSTOP'),
    resume: () => children.at(-1)?.signal('SIGCONT'),
  };
}

/** The server that `variable` names. Others may use it too. */
export function namedBroker(variable: string): Broker {
  const refuse = (what: string) => new Error(`cannot ${what} the server that ${variable} names`);
  return {
    own: false,
    get pid(): number {
      throw refuse('know the process of');
    },
    output: () => '',
    kill: () => Promise.reject(refuse('kill')),
    restart: () => Promise.reject(refuse('restart')),
    stop: () => Promise.resolve(),
    pause() {
      throw refuse('pause');
    },
    resume() {
      throw refuse('resume');
    },
  };
}

/** Runs a command to its end: for work that is needed once before a start. */
export async function runToEnd(command: Omit<Command, 'ready'>): Promise<void> {
  let output = '';
  const child = new Child({ ...command, ready: /$^/ }, text => {
    output += text;
  });
  const code = await child.gone;
  if (code !== 0) throw new Error(`${command.program} ended with ${code}. It printed:\n${output}`);
}

/** Removed after the test file. */
export function newDirectory(name: string): string {
  const directory = mkdtempSync(join(tmpdir(), `postroom-${name}-`));
  directories.add(directory);
  return directory;
}

/**
 * A port of 127.0.0.1 on which nothing listens. The system would choose a port that it also gives to outgoing
 * connections. Then a client that redials a dead broker may get the broker's own port, connect to itself, and keep the
 * broker from coming back.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer()
      .once('error', () => resolve(false))
      .listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function connection(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve();
    }).once('error', reject);
  });
}

function lastPid(children: readonly Child[]): number {
  const pid = children.at(-1)?.pid;
  if (pid === undefined) throw new Error('nothing was started');
  return pid;
}

/** A process with all its forks. */
class Child {
  /**
   * The exit code, or null if a signal ended it. Resolves when nobody holds its output any more: its forks are gone
   * too.
   */
  readonly gone: Promise<number | null>;
  readonly #command: Command;
  readonly #process: ChildProcess;
  #output = '';

  constructor(command: Command, print: (text: string) => void) {
    this.#command = command;
    // A group of its own, so that it can be killed as a whole. It would outlive a killed test run. So on Linux, the
    // system kills it together with the process that started it.
    const [program, args] = endingWithParent(command);
    const child = spawn(program, args, {
      cwd: command.directory,
      env: { PATH: process.env.PATH, HOME: command.directory, LANG: 'C.UTF-8', ...command.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#process = child;
    running.add(this);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
        print(text);
      });
    }
    this.gone = new Promise((resolve, reject) => {
      child.once('error', error => {
        running.delete(this);
        reject(error);
      });
      child.once('close', code => {
        running.delete(this);
        resolve(code);
      });
    });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  async ready(): Promise<void> {
    const { program, ready } = this.#command;
    const failed = (what: string) => new Error(`${program} ${what}. It printed:\n${this.#output}`);
    const stdio = [this.#process.stdout, this.#process.stderr];
    let settle = () => {};
    const printed = new Promise<void>((resolve, reject) => {
      const look = () => {
        if (ready.test(this.#output)) resolve();
      };
      const deadline = setTimeout(
        () => reject(failed(`was not ready within ${startSeconds} s`)),
        startSeconds * 1000,
      );
      settle = () => {
        clearTimeout(deadline);
        for (const stream of stdio) stream?.off('data', look);
      };
      for (const stream of stdio) stream?.on('data', look);
      look();
    });
    const ended = this.gone.then(code => {
      throw failed(`ended with ${code} before it was ready`);
    });
    await Promise.race([printed, ended]).finally(settle);
  }

  /** Resolves when it is gone; at once if it is gone already. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (!running.has(this)) return;
    this.signal(signal);
    this.signal('SIGCONT');
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      this.signal('SIGKILL');
    }, stopSeconds * 1000);
    await this.gone;
    clearTimeout(deadline);
    if (late)
      throw new Error(`${this.#command.program} did not end within ${stopSeconds} s:\n${this.#output}`);
  }

  signal(signal: NodeJS.Signals): void {
    const { pid } = this.#process;
    if (pid === undefined || !running.has(this)) return;
    try {
      process.kill(-pid, signal);
    } catch (error) {
      // It has ended meanwhile; `gone` reports it.
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  }
}

function endingWithParent({ program, args }: Pick<Command, 'program' | 'args'>): [string, readonly string[]] {
  if (inPath('setpriv') === undefined) return [program, args];
  return ['setpriv', ['--pdeathsig', 'KILL', '--', program, ...args]];
}
