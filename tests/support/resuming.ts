import { Agent, request } from 'node:http';
import { afterEach } from '@jest/globals';
import { WebSocket } from 'ws';

/** A notification as a listener saw it. */
export interface Heard {
  readonly id: string;
  readonly data: string;
}

/**
 * A client as a page would write it. It keeps the last id that it saw, comes back with it when the connection is lost,
 * and notes everything that it hears over its whole life.
 */
export class ResumingListener {
  readonly heard: Heard[] = [];
  /** How often the server said that the past no longer reaches back. */
  lost = 0;
  /** How often it was connected. */
  connections = 0;
  readonly closeCodes: number[] = [];
  readonly #url: () => string;
  #last: string | undefined;
  #socket: WebSocket | undefined;
  #stopped = false;
  #changed = () => {};

  /** @param url where to connect; called for each connection */
  constructor(url: () => string) {
    this.#url = url;
    listeners.add(this);
    this.#open();
  }

  /** Resolves when the condition holds; checks it after each event. */
  async until(condition: (listener: ResumingListener) => boolean): Promise<void> {
    while (!condition(this))
      await new Promise<void>(resolve => {
        this.#changed = resolve;
      });
  }

  stop(): void {
    this.#stopped = true;
    this.#socket?.terminate();
  }

  #open(): void {
    if (this.#stopped) return;
    const since = this.#last === undefined ? '' : `&since=${this.#last}`;
    const socket = new WebSocket(this.#url() + since);
    this.#socket = socket;
    socket.on('message', data => this.#take(JSON.parse(String(data))));
    // A close follows.
    socket.on('error', () => undefined);
    socket.on('close', code => {
      this.closeCodes.push(code);
      // In the next turn: the server may be down for a while, and others must get on.
      setImmediate(() => this.#open());
    });
  }

  #take(frame: { type: string; id?: string; data?: string; recovered?: boolean }): void {
    if (frame.type === 'welcome') this.connections++;
    if (frame.type === 'welcome' && frame.recovered === false) this.lost++;
    if (frame.id !== undefined) this.#last = frame.id;
    if (frame.type === 'notification') this.heard.push({ id: String(frame.id), data: String(frame.data) });
    this.#changed();
  }
}

/** Posts numbered notifications over one keep-alive connection. Repeats each with the same key until it is accepted. */
export class InsistentPublisher {
  /** The id of each data that was answered with 200. */
  readonly accepted = new Map<string, string>();
  /** How often a post had to be tried again. */
  retries = 0;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #url: () => string;
  readonly #key: string;

  constructor(url: () => string, key: string) {
    this.#url = url;
    this.#key = key;
    publishers.add(this);
  }

  /** Resolves when the notification was accepted. */
  async publish(room: string, data: string, fields: { event?: string; key?: string } = {}): Promise<void> {
    for (;;) {
      const answer = await this.#post(JSON.stringify({ room, event: 'counted', data, key: data, ...fields }));
      if (answer?.status === 200) {
        this.accepted.set(data, JSON.parse(answer.body).id);
        return;
      }
      if (answer !== undefined && answer.status !== 503) throw new Error(`${answer.status}: ${answer.body}`);
      this.retries++;
    }
  }

  stop(): void {
    this.#agent.destroy();
  }

  /** The answer; undefined if the connection broke or could not be made. */
  #post(body: string): Promise<{ status: number | undefined; body: string } | undefined> {
    return new Promise(resolve => {
      const headers = { authorization: `Bearer ${this.#key}`, 'content-type': 'application/json' };
      const posted = request(`${this.#url()}/notify`, { method: 'POST', agent: this.#agent, headers });
      posted.on('error', () => setImmediate(() => resolve(undefined)));
      posted.on('response', response => {
        let text = '';
        response.setEncoding('utf8').on('data', chunk => {
          text += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode, body: text }));
        response.on('error', () => setImmediate(() => resolve(undefined)));
      });
      posted.end(body);
    });
  }
}

const listeners = new Set<ResumingListener>();
const publishers = new Set<InsistentPublisher>();

afterEach(() => {
  for (const one of [...listeners, ...publishers]) one.stop();
  listeners.clear();
  publishers.clear();
});

/** Whether ids strictly increase. */
export function areInOrder(heard: readonly Heard[]): boolean {
  const parts = (id: string) => id.split('-').map(Number) as [number, number];
  return heard.every(({ id }, index) => {
    const before = heard[index - 1];
    if (before === undefined) return true;
    const [time, sequence] = parts(id);
    const [timeBefore, sequenceBefore] = parts(before.id);
    return time > timeBefore || (time === timeBefore && sequence > sequenceBefore);
  });
}
