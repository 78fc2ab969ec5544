/** Starts the server under test and the load side, each on a core of its own, and stops them again. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SERVER_CORE = 0;
const LOAD_CORE = 1;
const START_SECONDS = 20;

export const KEY = 'bench-key-0123456789abcdef-0123456789abcdef';
export const JWT_SECRET = 'bench-secret-0123456789abcdef-0123456789abcdef';

/** The servers by name; `joined` is what tells a listener that it will now be served. */
const SERVERS = {
  baseline: { file: path('./baseline.js'), joined: 'upgrade' },
  postroom: { file: path('../dist/main.js'), joined: 'subscribed', journal: 'memory' },
  disk: { file: path('../dist/main.js'), joined: 'subscribed', journal: 'disk' },
};

export const pinned =
  availableParallelism() > LOAD_CORE && spawnSync('taskset', ['-c', `${LOAD_CORE}`, 'true']).status === 0;

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1)); // takes the children along

/**
 * Runs one measurement against one server, both sides freshly started and gone afterwards.
 * @param settings of the server, where the question needs others than the defaults
 */
export async function withServer(name, measure, settings = {}) {
  const server = await startServer(name, settings);
  try {
    const load = startLoad(server);
    try {
      return await measure(load, server);
    } finally {
      load.stop();
    }
  } finally {
    server.stop();
  }
}

async function startServer(name, settings) {
  const { file, joined, journal } = SERVERS[name];
  if (!existsSync(file)) throw new Error(`${file} does not exist: npm run build makes it`);
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'postroom-bench-'));
  const launch = async () => {
    const child = start(SERVER_CORE, [file], {
      // Nothing of the caller's settings, and a directory without .env: the defaults are what is measured.
      env: {
        PATH: process.env.PATH,
        NODE_ENV: 'production',
        HOST: '127.0.0.1',
        PORT: `${port}`,
        JOURNAL: journal,
        LOG_LEVEL: 'warn',
        NOTIFY_KEYS: KEY,
        JWT_SECRET,
        ...settings,
      },
      cwd: directory,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    await ready(child, port);
    return child;
  };
  let child = await launch();
  return {
    name,
    port,
    joined,
    get pid() {
      return child.pid;
    },
    /** Ends it with kill -9 and starts it again on what it left; returns the seconds from spawn to ready. */
    async restart() {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      const before = performance.now();
      child = await launch();
      return (performance.now() - before) / 1000;
    },
    stop: () => stop(child, directory),
  };
}

function stop(child, directory) {
  child.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  child.kill('SIGKILL');
}

/** Starts load.js; `ask` sends it one command and waits for what came of it. */
function startLoad({ pid, port, joined }) {
  const settings = { pid, cores: pinned ? [SERVER_CORE, LOAD_CORE] : [], port, joined, key: KEY };
  const child = start(LOAD_CORE, [path('./load.js'), JSON.stringify(settings)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  return {
    stop: () => child.kill('SIGKILL'),
    ask: (command, options) =>
      new Promise((resolve, reject) => {
        const gone = () => reject(new Error(`the load side failed at ${command}`));
        child.once('exit', gone);
        child.once('message', answer => {
          child.off('exit', gone);
          resolve(answer);
        });
        child.send({ command, options });
      }),
  };
}

function start(core, args, options) {
  const line = pinned ? ['taskset', '-c', `${core}`, process.execPath] : [process.execPath];
  const child = spawn(line[0], [...line.slice(1), ...args], options);
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  return child;
}

async function ready(child, port) {
  const end = Date.now() + START_SECONDS * 1000;
  while (Date.now() < end && child.exitCode === null) {
    const answer = await fetch(`http://127.0.0.1:${port}/health/ready`).catch(() => null);
    if (answer?.ok) return;
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  child.kill('SIGKILL');
  throw new Error('the server did not become ready');
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

function path(relative) {
  return fileURLToPath(new URL(relative, import.meta.url));
}
