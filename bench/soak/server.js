/** The server under test: the real program, on the same port and directory in all its lives. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, readdirSync, statSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { rssKiB } from '../proc.js';

export const KEY = 'soak-key-0123456789abcdef-0123456789abcdef';
export const JWT_SECRET = 'soak-secret-0123456789abcdef-0123456789abcdef';

const PROGRAM = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const START_SECONDS = 20;
const STOP_SECONDS = 20;
const ERROR = 50; // pino's level

export class Server {
  port;
  running = false;
  #directory;
  #wrongs;
  #child;
  #agent = new Agent({ keepAlive: true });
  #log;

  static async start(directory, wrongs) {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} does not exist: npm run build makes it`);
    const server = new Server(directory, wrongs, await freePort());
    await server.#launch();
    return server;
  }

  /** @private */
  constructor(directory, wrongs, port) {
    this.port = port;
    this.#directory = directory;
    this.#wrongs = wrongs;
    this.#log = createWriteStream(join(directory, 'server.log'));
    process.once('exit', () => this.#child?.kill('SIGKILL'));
  }

  async restart(signal) {
    await this.stop(signal);
    await this.#launch();
  }

  async stop(signal = 'SIGTERM') {
    this.running = false;
    const child = this.#child;
    const exit = once(child, 'exit');
    child.kill(signal);
    const tooLong = setTimeout(() => {
      this.#wrongs.note('stuck', `the server did not stop within ${STOP_SECONDS} s of ${signal}`);
      child.kill('SIGKILL');
    }, STOP_SECONDS * 1000);
    const [code] = await exit;
    clearTimeout(tooLong);
    if (signal === 'SIGTERM' && code !== 0) this.#wrongs.note('stopped', `exit code ${code} after SIGTERM`);
  }

  /** The report of `/health` with a key. */
  async report() {
    const { promise, resolve, reject } = withResolvers();
    const headers = { Authorization: `Bearer ${KEY}` };
    const { port } = this;
    const asked = request({ host: '127.0.0.1', port, path: '/health', agent: this.#agent, headers });
    asked.on('error', reject).on('response', response => {
      let text = '';
      response.setEncoding('utf8').on('data', chunk => {
        text += chunk;
      });
      response.on('error', reject).on('end', () => resolve(JSON.parse(text)));
    });
    asked.setTimeout(10_000, () => asked.destroy(new Error('no answer from /health')));
    asked.end();
    return promise;
  }

  /** Its state now, as the server and as the system report it. */
  async sample() {
    const { pid } = this.#child;
    const report = await this.report();
    return {
      at: performance.now(),
      report,
      rssBytes: rssKiB(pid) * 1024,
      files: readdirSync(`/proc/${pid}/fd`).length,
      journalBytes: statSync(join(this.#directory, 'data', 'journal.lmdb')).size,
    };
  }

  async #launch() {
    const child = spawn(process.execPath, [PROGRAM], {
      cwd: this.#directory,
      env: {
        PATH: process.env.PATH,
        NODE_ENV: 'production',
        PORT: `${this.port}`,
        LOG_LEVEL: 'warn',
        NOTIFY_KEYS: KEY,
        JWT_SECRET,
        JOURNAL: 'disk',
        // Some 20 s of notifications: more than anybody misses without being gone for good.
        RETENTION_BYTES: `${16 * 1024 * 1024}`,
        RETENTION_SECONDS: '60',
        MAX_BUFFERED_BYTES: `${64 * 1024}`,
        PING_SECONDS: '5',
        DRAIN_SECONDS: '1',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // Ctrl-C must reach only us; we end the server
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) this.#watch(stream);
    child.once('exit', (code, signal) => {
      if (!this.running) return;
      throw new Error(`the server ended by itself: ${code ?? signal}`);
    });
    await this.#ready(child);
    this.running = true;
  }

  #watch(stream) {
    let rest = '';
    stream.setEncoding('utf8').on('data', text => {
      this.#log.write(text);
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) if (isError(line)) this.#wrongs.note('logged', line);
    });
  }

  async #ready(child) {
    const end = performance.now() + START_SECONDS * 1000;
    while (performance.now() < end && child.exitCode === null) {
      const answer = await fetch(`http://127.0.0.1:${this.port}/health/ready`).catch(() => undefined);
      if (answer?.ok) return;
      await sleep(20);
    }
    throw new Error(`the server did not become ready within ${START_SECONDS} s`);
  }
}

/** Whether a line of its output is an error; so is every line that is no JSON. */
function isError(line) {
  if (line === '') return false;
  if (!line.startsWith('{')) return true;
  return JSON.parse(line).level >= ERROR;
}

function withResolvers() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
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
