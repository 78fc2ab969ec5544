import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach } from '@jest/globals';
import { Webhook } from 'standardwebhooks';

export const WEBHOOK_SECRET = 'whsec_cG9zdHJvb20gdGVzdCBzZWNyZXQgb2YgMzIgYnl0ZXM=';

/** An event, as PHP gets it. */
export interface Event {
  id: string;
  at: string;
  type: string;
  node: string;
  [field: string]: unknown;
}

export interface Delivery {
  /** The header `webhook-id`. */
  readonly id: string;
  readonly headers: IncomingMessage['headers'];
  readonly events: Event[];
}

/** Answers a request. Without an answer it hangs. */
export type Answer = (response: ServerResponse, delivery: Delivery) => void;

export const TAKEN: Answer = response => response.writeHead(204).end();

const open = new Set<WebhookReceiver>();

afterEach(async () => {
  await Promise.all([...open].map(receiver => receiver.stop()));
  open.clear();
});

/** A backend that gets webhooks. It checks each signature with the library of the specification. Stopped after the test. */
export class WebhookReceiver {
  /** Requests, also those that were not answered with 2xx. */
  readonly deliveries: Delivery[] = [];
  /** The events of the requests that were answered with 2xx. */
  readonly taken: Event[] = [];
  /** Requests whose signature is wrong. */
  readonly forged: string[] = [];
  /** The most requests that were under way at once. */
  mostAtOnce = 0;
  answer: Answer = TAKEN;
  readonly #secret: string;
  #server: Server | undefined;
  #port = 0;
  #running = 0;
  #changed: () => void = () => undefined;

  private constructor(secret: string) {
    this.#secret = secret;
  }

  static async start(secret = WEBHOOK_SECRET): Promise<WebhookReceiver> {
    const receiver = new WebhookReceiver(secret);
    await receiver.start();
    open.add(receiver);
    return receiver;
  }

  /** The settings of a server that sends here. */
  get settings(): Record<string, string> {
    return { WEBHOOK_URL: this.url, WEBHOOK_SECRET: this.#secret };
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/hooks.php`;
  }

  /** Listens, at the same port as before. */
  async start(): Promise<void> {
    const server = createServer((request, response) => void this.#receive(request, response));
    await new Promise<void>(resolve => server.listen(this.#port, '127.0.0.1', resolve));
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise(resolve => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  /** Resolves when something is so. It is looked at after each request. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo())
      await new Promise<void>(resolve => {
        this.#changed = resolve;
      });
  }

  /** The events that were taken, when there are so many of some types; by default, of all types. */
  async events(count: number, ...types: string[]): Promise<Event[]> {
    const wanted = () => this.taken.filter(({ type }) => types.length === 0 || types.includes(type));
    await this.until(() => wanted().length >= count);
    return wanted();
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#running);
    response.on('close', () => this.#running--);
    const body = await text(request).catch(() => undefined);
    // It broke off.
    if (body === undefined) return;
    try {
      new Webhook(this.#secret).verify(body, request.headers as Record<string, string>);
    } catch (error) {
      this.forged.push(String(error));
    }
    const { events } = JSON.parse(body) as { events: Event[] };
    const delivery = { id: String(request.headers['webhook-id']), headers: request.headers, events };
    this.deliveries.push(delivery);
    this.answer(response, delivery);
    if (response.headersSent && response.statusCode >= 200 && response.statusCode < 300)
      this.taken.push(...events);
    this.#changed();
  }
}
