/** Asks the control API. */
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPublisher } from './publisher.js';

const TICK_MS = 1;
const LOOK_MS = 5;

/** Sends `requests` in turn, so many times a second, over so many keep-alive connections. Times are from when it was due. */
export class Questions {
  latencies = [];
  #requests;
  #idle;
  #rate;
  #started = performance.now();
  #asked = 0;
  #waiting = [];
  #unanswered = 0;
  #due = new Map();
  #timer = setInterval(() => this.#tick(), TICK_MS);

  constructor({ to, requests, rate, connections }) {
    this.#rate = rate;
    this.#requests = requests;
    const answered = publisher => this.#answered(publisher);
    this.#idle = Array.from({ length: connections }, (_, n) =>
      openPublisher({ to: to[n % to.length], request: undefined, answered }),
    );
  }

  async stop() {
    clearInterval(this.#timer);
    while (this.#unanswered > 0) await sleep(LOOK_MS);
    for (const publisher of this.#idle) publisher.close();
  }

  #tick() {
    const now = performance.now();
    const due = Math.floor(((now - this.#started) / 1000) * this.#rate);
    for (; this.#asked < due; this.#asked++) this.#waiting.push({ number: this.#asked, at: now });
    this.#ask();
  }

  #answered(publisher) {
    this.latencies.push(performance.now() - this.#due.get(publisher));
    this.#unanswered--;
    this.#idle.push(publisher);
    this.#ask();
  }

  #ask() {
    while (this.#idle.length > 0 && this.#waiting.length > 0) {
      const { number, at } = this.#waiting.shift();
      const publisher = this.#idle.shift();
      this.#due.set(publisher, at);
      this.#unanswered++;
      publisher.post(this.#requests[number % this.#requests.length]);
    }
  }
}

/**
 * Walks a list page by page, to its end or for so many pages. Returns the ms that each page took, and how many items
 * came. They must come in order, each once.
 */
export async function walk({ port, key, path, list, name, limit, pages = Number.POSITIVE_INFINITY }) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const times = [];
  let [items, last, after] = [0, '', ''];
  while (times.length < pages && after !== null) {
    const behind = after === '' ? '' : `&after=${encodeURIComponent(after)}`;
    const before = performance.now();
    const answer = await get({ agent, port, key, path: `${path}?limit=${limit}${behind}` });
    times.push(performance.now() - before);
    for (const item of answer[list]) {
      if (item[name] <= last) throw new Error(`${item[name]} comes behind ${last}`);
      last = item[name];
    }
    items += answer[list].length;
    if (answer.partial) throw new Error('a page is partial');
    after = answer.next;
  }
  agent.destroy();
  return { times, items };
}

export function get({ agent, port, key, path }) {
  return new Promise((resolve, reject) => {
    const headers = { Authorization: `Bearer ${key}` };
    const asked = request({ agent, port, host: '127.0.0.1', path, headers }, answer => {
      const chunks = [];
      answer.on('data', chunk => chunks.push(chunk));
      answer.once('end', () => {
        const text = Buffer.concat(chunks).toString();
        if (answer.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(`${path}: ${answer.statusCode} ${text}`));
      });
    });
    asked.once('error', reject).end();
  });
}

/** A GET of the control API. */
export function question(path, key) {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${key}\r\n\r\n`);
}
