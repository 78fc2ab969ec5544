/** Ask PHP: through Postroom, with `call` frames, or with the same requests by HTTP. */
import { Agent, request as httpRequest } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { frameOf, openClient } from './client.js';
import { openPublisher } from './publisher.js';

const TICK_MS = 1;
const LOOK_MS = 5;
const STATUS_MS = 10;
const TOGETHER = 32;

/** So many connections, each with one call at a time. */
export class Callers {
  /** From when a call was due to its answer, in ms. */
  answered = [];
  /** The same for `call_busy`. */
  refused = [];
  #idle = [];
  #all = [];
  #waiting = []; // when calls were due that wait for a connection, in ms
  #due = new Map();
  #timer;
  #stopped = false;

  /** @param options `url` and `request` by HTTP; `port` and a token for each connection through Postroom */
  static async open({ connections, url, request, port, tokens }) {
    const callers = new Callers();
    let opened = 0;
    async function openInTurn() {
      while (opened < connections) {
        const number = opened++;
        const caller = await (url
          ? openHttp(callers, url, request)
          : openFrames(callers, port, tokens[number]));
        callers.#all.push(caller);
        callers.#idle.push(caller);
      }
    }
    await Promise.all(Array.from({ length: Math.min(TOGETHER, connections) }, openInTurn));
    return callers;
  }

  /** @param rate calls a second; undefined: each calls again when it is answered */
  start(rate) {
    if (rate === undefined) {
      for (let n = this.#idle.length; n > 0; n--) this.#waiting.push(performance.now());
      this.#again = () => this.#waiting.push(performance.now());
      return this.#call();
    }
    const started = performance.now();
    let due = 0;
    this.#timer = setInterval(() => {
      const now = performance.now();
      for (; due < ((now - started) / 1000) * rate; due++) this.#waiting.push(now);
      this.#call();
    }, TICK_MS);
  }

  /** Counts from now on. */
  reset() {
    this.answered = [];
    this.refused = [];
  }

  async stop() {
    this.#stopped = true;
    clearInterval(this.#timer);
    while (this.#due.size > 0) await sleep(LOOK_MS);
    for (const caller of this.#all) caller.close();
  }

  heard(caller, isRefused = false) {
    const latency = performance.now() - this.#due.get(caller);
    this.#due.delete(caller);
    (isRefused ? this.refused : this.answered).push(latency);
    this.#idle.push(caller);
    this.#again();
    this.#call();
  }

  #again = () => {};

  #call() {
    while (!this.#stopped && this.#idle.length > 0 && this.#waiting.length > 0) {
      const caller = this.#idle.shift();
      this.#due.set(caller, this.#waiting.shift());
      caller.call();
    }
  }
}

async function openHttp(callers, url, request) {
  const { hostname: host, port } = new URL(url);
  const publisher = openPublisher({
    to: { host, port: Number(port) },
    request: Buffer.from(request),
    answered: () => callers.heard(caller),
  });
  const caller = { call: () => publisher.post(), close: () => publisher.close() };
  return caller;
}

async function openFrames(callers, port, token) {
  let ref = 0;
  let caller;
  const client = await openClient({
    port,
    path: `/ws?token=${token}`,
    took(_client, bytes, start, end) {
      const frame = JSON.parse(bytes.toString('utf8', start, end));
      if (frame.type === 'welcome') return true;
      if (frame.type === 'error' ? frame.code !== 'call_busy' : !frame.data?.ok)
        throw new Error(`not an answer: ${JSON.stringify(frame)}`);
      if (frame.ref !== ref) throw new Error('an answer to another call');
      callers.heard(caller, frame.type === 'error');
      return false;
    },
  });
  caller = {
    call: () => client.send(frameOf(`{"type":"call","event":"ping","data":{"text":"Hello"},"ref":${++ref}}`)),
    close: () => client.close(),
  };
  return caller;
}

/** Asks nginx now and then how many requests it has. Resolves to the most, when the returned function is called. */
export function mostAtOnce(url) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  let most = 0;
  let ended = false;
  const looking = (async () => {
    while (!ended) {
      const page = await new Promise((resolve, reject) =>
        httpRequest(url, { agent }, answer => resolve(text(answer)))
          .once('error', reject)
          .end(),
      );
      const [, reading, writing] = /Reading: (\d+) Writing: (\d+)/.exec(page);
      most = Math.max(most, Number(reading) + Number(writing) - 1); // not this request
      await sleep(STATUS_MS);
    }
    agent.destroy();
  })();
  return async () => {
    ended = true;
    await looking;
    return most;
  };
}
