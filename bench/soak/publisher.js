/** Posts its notifications one after the other over a keep-alive connection. Repeats each until it is accepted. */
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { addressesOf } from './plan.js';
import { KEY } from './server.js';

const ANSWER_MS = 15_000;
const RETRY_MS = 30;
const DATA_BYTES = [200, 3_000];

export class Publisher {
  /** How many were accepted; this is also the number of the next one. */
  accepted = 0;
  /** How often a post had to be repeated. */
  retries = 0;
  /** How long each accepted post took, in milliseconds, without failed posts before it. */
  latencies = [];
  #number;
  #port;
  #wrongs;
  #everyMs;
  #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  #stopped = false;

  /** @param rate so many a second, or fewer if they are accepted more slowly */
  constructor({ number, port, wrongs, rate }) {
    this.#number = number;
    this.#port = port;
    this.#wrongs = wrongs;
    this.#everyMs = 1000 / rate;
  }

  /** Posts until it is stopped; resolves when the last one is accepted. */
  async run() {
    for (
      let due = performance.now();
      !this.#stopped;
      due = Math.max(due + this.#everyMs, performance.now())
    ) {
      await this.#publish(addressesOf(this.accepted));
      const early = due + this.#everyMs - performance.now();
      if (early > 0) await sleep(early);
    }
  }

  stop() {
    this.#stopped = true;
  }

  /** Goes on up to a number that reaches everyone. */
  async publishLast() {
    do await this.#publish(addressesOf(this.accepted));
    while (!addressesOf(this.accepted - 1).everyone);
  }

  close() {
    this.#agent.destroy();
  }

  async #publish(addresses) {
    const number = this.accepted;
    const [least, most] = DATA_BYTES;
    const data = {
      publisher: this.#number,
      number,
      text: 'x'.repeat(least + Math.random() * (most - least)),
    };
    const body = JSON.stringify({
      ...addresses,
      event: 'counted',
      data,
      key: `${this.#number}:${number}`,
    });
    for (let tries = 1; ; tries++) {
      const began = performance.now();
      const answer = await this.#post(body);
      if (answer?.status === 200) {
        this.latencies.push(performance.now() - began);
        if (tries === 1 && JSON.parse(answer.text).duplicate)
          this.#wrongs.note(
            'duplicate',
            `the first post of ${this.#number}:${number} was called a duplicate`,
          );
        this.accepted++;
        return;
      }
      if (answer !== undefined && answer.status !== 503)
        this.#wrongs.note('refused', `${answer.status} ${answer.text}`);
      this.retries++;
      await sleep(RETRY_MS);
    }
  }

  /** The answer; undefined if the connection broke or could not be made. */
  #post(body) {
    return new Promise(resolve => {
      const posting = request({
        host: '127.0.0.1',
        port: this.#port,
        path: '/notify',
        method: 'POST',
        agent: this.#agent,
        headers: { Authorization: `Bearer ${KEY}`, 'Content-Type': 'application/json' },
      });
      posting.setTimeout(ANSWER_MS, () => {
        this.#wrongs.note('stuck', `no answer to a publish within ${ANSWER_MS / 1000} s`);
        posting.destroy();
      });
      const broken = () => resolve(undefined);
      posting.on('error', broken);
      posting.on('response', response => {
        let text = '';
        response.setEncoding('utf8').on('data', chunk => {
          text += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode, text }));
        response.on('error', broken);
      });
      posting.end(body);
    });
  }
}
