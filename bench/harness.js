/** Starts the server under test and the load side, each on its own core, and stops them again. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startBroker, whyNo } from './brokers.js';
import { freePort, LOAD_CORE, pinned, SERVER_CORE, start } from './processes.js';
import { SERVERS } from './servers.js';

const START_SECONDS = 20;

export const KEY = 'bench-key-0123456789abcdef-0123456789abcdef';
export const JWT_SECRET = 'bench-secret-0123456789abcdef-0123456789abcdef';

/**
 * Runs one measurement against one server, or against several that share a broker. All are freshly started, and removed
 * afterwards.
 * @param prepare gets the broker, if there is one, before the server is started
 * @param settings of the server, if the question needs others than the defaults; or a function of the broker's address
 * @param probed whether `server.probe` is needed. It takes a little CPU, so others do without.
 */
export async function withServer(name, measure, { prepare, settings = {}, probed = false } = {}) {
  const spec = SERVERS[name];
  const broker = spec.broker && (await startBroker(spec.broker, spec.unpinned ? undefined : LOAD_CORE));
  try {
    if (broker) await prepare?.(broker);
    const own = typeof settings === 'function' ? settings(broker?.address) : settings;
    const all = { ...spec.settings?.(broker?.address), ...own };
    const server = await startServer(name, all, { broker, probed });
    try {
      const load = startLoad(server);
      try {
        return await measure(load, server);
      } finally {
        load.stop();
      }
    } finally {
      await server.stop();
    }
  } finally {
    await broker?.stop();
  }
}

/** Why that server cannot be measured here; undefined if it can. */
export function whyNot(name) {
  const { broker, lacks } = SERVERS[name];
  const lacking = lacks?.();
  return lacking ? `${name} needs ${lacking}` : broker && whyNo(broker);
}

async function startServer(name, settings, { broker, probed }) {
  const { file, joined, journal, source, socket, nodes: count } = SERVERS[name];
  if (!existsSync(file)) throw new Error(`${file} does not exist: npm run build makes it`);
  const directory = mkdtempSync(join(tmpdir(), 'postroom-bench-'));
  const probe = probed ? ['--import', path('./probe.js')] : [];
  const launch = async port => {
    const child = start(SERVER_CORE, process.execPath, [...probe, file], {
      // Without the caller's settings, and in a directory without .env: measures the defaults.
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
    await ready(child, port, source);
    return child;
  };
  const ports = await Promise.all(Array.from({ length: count }, freePort));
  const children = await Promise.all(ports.map(launch));
  const [port] = ports;
  return {
    name,
    port,
    ports,
    joined,
    source,
    broker,
    /** Where it takes publishers' requests, besides its ports. */
    socket: socket && join(directory, socket),
    get pid() {
      return children[0].pid;
    },
    pids: children.map(child => child.pid),
    /** How much it keeps on the disk. */
    fileBytes: () => bytesIn(directory),
    /** Asks probe.js in the first server. */
    probe: command => askProbe(join(directory, `probe-${port}`), command),
    /** Ends it with kill -9 and starts it again with its files. Returns the seconds from spawn to ready. */
    async restart() {
      await kill(children[0]);
      const before = performance.now();
      children[0] = await launch(port);
      return (performance.now() - before) / 1000;
    },
    async stop() {
      await Promise.all(children.map(kill));
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Starts load.js. `ask` sends it one command and waits for the result. */
function startLoad({ pids, ports, joined, source, socket, broker }) {
  const cores = pinned ? [SERVER_CORE, LOAD_CORE] : [];
  const settings = { pids, broker, cores, ports, socket, source, joined, key: KEY };
  const child = start(LOAD_CORE, process.execPath, [path('./load.js'), JSON.stringify(settings)], {
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

/** Blocks that are in use, since LMDB's files may have holes. */
function bytesIn(directory) {
  const files = readdirSync(directory, { recursive: true }).map(name => statSync(join(directory, name)));
  return files.reduce((sum, { blocks }) => sum + blocks * 512, 0);
}

async function askProbe(socket, command) {
  const probe = connect(socket);
  probe.write(command);
  return json(probe);
}

async function kill(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** A server with a source is ready only when the source is connected too. */
async function ready(child, port, source) {
  const end = Date.now() + START_SECONDS * 1000;
  while (Date.now() < end && child.exitCode === null) {
    const page = `http://127.0.0.1:${port}/health`;
    const answer = await fetch(source ? page : `${page}/ready`).catch(() => null);
    if (answer?.ok && (!source || (await answer.json()).status === 'ok')) return;
    await sleep(20);
  }
  child.kill('SIGKILL');
  throw new Error('the server did not become ready');
}

function path(relative) {
  return fileURLToPath(new URL(relative, import.meta.url));
}
