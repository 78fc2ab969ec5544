import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { WebSocket } from 'ws';
import type { Options, Postroom } from '../../clients/js/src/postroom.js';
import { token as sign } from '../support/client.js';
import { WEBHOOK_SECRET } from '../support/receiver.js';
import { KEY, startServer, type TestServer } from '../support/server.js';
import { openRealClient, type RealClient } from './real.js';

async function open(server: TestServer, claims: object, options: Options = {}): Promise<RealClient> {
  const token = () => sign({ rooms: ['*'], publish: ['chat.*'], ...claims });
  const client = openRealClient(server.ws('/ws?room=chat.1'), { token, ...options });
  await client.until(() => client.room.state === 'open');
  return client;
}

/** What a request was refused with. */
async function refusal(request: Promise<unknown>): Promise<unknown> {
  return request.then(
    value => ({ resolved: value }),
    (error: unknown) => error,
  );
}

describe('publish, with a server', () => {
  it('reaches the others with who it was, and not oneself', async () => {
    const server = await startServer();
    const li = await open(server, { sub: '42' });
    const jo = await open(server, { sub: '7' });
    const { id } = await li.room.publish('chat.1', 'typing', { on: true });
    await server.notify({ room: 'chat.1', event: 'last' });
    await li.until(() => li.heard.length > 0);
    await jo.until(() => jo.heard.length > 1);
    expect(li.heard).toMatchObject([{ event: 'last' }]);
    expect(jo.heard).toMatchObject([
      { id, event: 'typing', data: { on: true }, from: { connection: li.room.connection, user: '42' } },
      { event: 'last' },
    ]);
    expect(jo.heard[1]).not.toHaveProperty('from');
  });

  it('comes to those who connect again within the ttl, and still not to oneself', async () => {
    const server = await startServer();
    const li = await open(server, { sub: '42' });
    const jo = await open(server, { sub: '7' });
    for (const client of [li, jo]) client.drop();
    await li.until(() => li.opened() === 2);
    await li.room.publish('chat.1', 'kept', 1, { ttl: 60 });
    li.drop();
    for (const client of [li, jo]) await client.until(() => client.room.state === 'open');
    await server.notify({ room: 'chat.1', event: 'last' });
    for (const client of [li, jo]) await client.until(() => client.heard.at(-1)?.event === 'last');
    expect(li.heard.map(({ event }) => event)).toEqual(['last']);
    expect(jo.heard.map(({ event }) => event)).toEqual(['kept', 'last']);
  });

  it('each of several that are refused or taken has its own answer', async () => {
    const server = await startServer();
    const li = await open(server, { sub: '42' });
    const asked = ['chat.1', 'news', 'chat.2', 'no room?'].map(room => refusal(li.room.publish(room, 'e')));
    expect(await Promise.all(asked)).toMatchObject([
      { resolved: { id: expect.any(String) } },
      { code: 'forbidden' },
      { resolved: { id: expect.any(String) } },
      { code: 'invalid_frame' },
    ]);
    expect(li.faults).toEqual([]);
  });

  it('too fast is refused; the connection stays', async () => {
    const server = await startServer({ MAX_CLIENT_MESSAGES_PER_SECOND: '1' });
    const li = await open(server, { sub: '42' });
    const asked = [1, 2, 3, 4, 5].map(data => refusal(li.room.publish('chat.1', 'e', data)));
    const codes = (await Promise.all(asked)).map(answer => (answer as { code?: string }).code);
    expect(codes).toEqual([undefined, undefined, 'rate_limited', 'rate_limited', 'rate_limited']);
    expect([li.opened(), li.faults]).toEqual([1, []]);
  });
});

type Answer = (response: ServerResponse, call: { event: string; data: unknown }) => void;

const backends: (() => void)[] = [];
afterEach(() => {
  for (const stop of backends.splice(0)) stop();
});

/** A server whose calls come to the test, and a client of it. */
async function callable(answer: Answer, settings: Record<string, string> = {}) {
  const asked: string[] = [];
  let changed = () => {};
  const backend = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const call = JSON.parse(body);
    asked.push(call.event);
    changed();
    answer(response, call);
  });
  await new Promise<void>(resolve => backend.listen(0, '127.0.0.1', resolve));
  backends.push(() => {
    backend.close();
    backend.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(backend.address() as AddressInfo).port}/call.php`;
  const server = await startServer({ CALL_URL: url, WEBHOOK_SECRET, ...settings });
  return {
    asked,
    server,
    li: await open(server, { sub: '42' }),
    async until(count: number) {
      while (asked.length < count)
        await new Promise<void>(resolve => {
          changed = resolve;
        });
    },
  };
}

describe('call, with a server', () => {
  it('brings what PHP answered', async () => {
    const { li } = await callable((response, { data }) => response.end(JSON.stringify({ got: data })));
    expect(await li.room.call('cart.add', { article: 7 })).toEqual({ got: { article: 7 } });
    expect(await li.room.call('cart.add')).toEqual({ got: null });
  });

  it('brings null if PHP answered nothing', async () => {
    const { li } = await callable(response => response.writeHead(204).end());
    expect(await li.room.call('cart.clear')).toBeNull();
  });

  it('brings the answers of several at once, each to its own', async () => {
    const waiting: (() => void)[] = [];
    const { li, until } = await callable((response, { data }) =>
      waiting.push(() => response.end(JSON.stringify(data))),
    );
    const asked = [1, 2, 3, 4, 5].map(data => li.room.call('e', data));
    await until(5);
    for (const answer of waiting.reverse()) answer();
    expect(await Promise.all(asked)).toEqual([1, 2, 3, 4, 5]);
  });

  it.each<[string, Answer, Record<string, string>]>([
    ['call_failed', response => response.writeHead(500).end('{}'), {}],
    ['call_timeout', () => {}, { CALL_TIMEOUT_SECONDS: '1' }],
  ])('is refused with %s, and the next one is answered', async (code, answer, settings) => {
    const { li } = await callable(
      (response, call) => (call.event === 'good' ? response.end('1') : answer(response, call)),
      settings,
    );
    expect(await refusal(li.room.call('bad'))).toMatchObject({ code, message: expect.stringMatching(/\w/) });
    expect(await li.room.call('good')).toBe(1);
    expect(li.faults).toEqual([]);
  });

  it('is refused with call_busy while PHP has enough of them', async () => {
    const waiting: ServerResponse[] = [];
    const { li, until } = await callable(response => waiting.push(response));
    const asked = [1, 2, 3, 4, 5].map(data => li.room.call('e', data));
    expect(await refusal(li.room.call('e', 6))).toMatchObject({ code: 'call_busy' });
    await until(5);
    for (const response of waiting) response.end('true');
    expect(await Promise.all(asked)).toEqual([true, true, true, true, true]);
  });

  it('has no type without CALL_URL', async () => {
    const li = await open(await startServer(), { sub: '42' });
    expect(await refusal(li.room.call('e'))).toMatchObject({ code: 'unknown_type' });
    expect(li.faults).toEqual([]);
  });

  it('ends with closed if the connection is lost; PHP is asked once', async () => {
    const { li, asked, until } = await callable((response, { event }) => {
      if (event === 'next') response.end('"next"');
    });
    const slow = refusal(li.room.call('slow'));
    await until(1);
    li.drop();
    expect(await slow).toMatchObject({ code: 'closed' });
    await li.until(() => li.room.state === 'open');
    expect(await li.room.call('next')).toBe('next');
    expect(asked).toEqual(['slow', 'next']);
  });
});

/** What the server knows of a notification. */
async function statusOf(server: TestServer, id: string | undefined): Promise<unknown> {
  const response = await fetch(`${server.url}/notifications/${id}`, {
    headers: { authorization: `Bearer ${KEY}` },
  });
  return response.json();
}

/** Resolves when the server has taken all that the client sent before. */
async function taken(room: Postroom): Promise<void> {
  await refusal(room.publish('chat.1', 'taken'));
}

describe('acknowledgements, with a server', () => {
  it('are what a publisher waits for', async () => {
    const server = await startServer();
    await open(server, { sub: '42' });
    await open(server, { sub: '7' });
    const answer = await server.notify({ room: 'chat.1', event: 'e', ack: 60, wait: 30 });
    expect(answer).toMatchObject({ connections: 2, acknowledged: 2 });
  });

  it('come when the promise of the handler has resolved, and not if there is no handler', async () => {
    const server = await startServer();
    const li = await open(server, { sub: '42' });
    li.deafen();
    let shown = () => {};
    li.room.on('slow', () => new Promise<void>(resolve => (shown = resolve)));
    li.room.on('good', () => {});
    const slow = await server.notify({ user: '42', event: 'slow', ack: 60 });
    const unheard = await server.notify({ user: '42', event: 'unheard', ack: 60 });
    const good = await server.notify({ user: '42', event: 'good', ack: 60, wait: 30 });
    expect(good).toMatchObject({ connections: 1, acknowledged: 1 });
    for (const { id } of [slow, unheard])
      expect(await statusOf(server, id)).toMatchObject({ connections: 1, acknowledged: 0 });
    shown();
    await taken(li.room);
    expect(await statusOf(server, slow.id)).toMatchObject({ acknowledged: 1 });
    expect(await statusOf(server, unheard.id)).toMatchObject({ acknowledged: 0 });
  });

  it('of what came before a lost connection count after it', async () => {
    const server = await startServer();
    const li = await open(server, { sub: '42' });
    let shown = () => {};
    li.room.on('slow', () => new Promise<void>(resolve => (shown = resolve)));
    const { id } = await server.notify({ room: 'chat.1', user: '42', event: 'slow', ack: 60 });
    await li.until(() => li.heard.length > 0);
    li.drop();
    await li.until(() => li.room.state !== 'open');
    shown();
    await li.until(() => li.opened() === 2);
    await taken(li.room);
    expect(await statusOf(server, id)).toMatchObject({
      acknowledged: 1,
      users: [{ user: '42', acknowledged: 1 }],
    });
  });

  it('that were lost with the connection come again over the next one', async () => {
    const server = await startServer();
    let newest: WebSocket | undefined;
    let isLosing = true;
    const Lossy = class extends WebSocket {
      constructor(address: string, protocols: string[]) {
        super(address, protocols);
        newest = this;
      }

      override send(text: string): void {
        if (!isLosing || !text.includes('"type":"ack"')) super.send(text);
        else setImmediate(() => this.terminate());
        if (text.includes('"type":"ack"')) isLosing = false;
      }
    };
    const li = await open(server, { sub: '42' }, { WebSocket: Lossy });
    const first = newest;
    const answer = await server.notify({ user: '42', event: 'e', ack: 60, wait: 30 });
    expect(answer).toMatchObject({ connections: 1, acknowledged: 0 });
    await li.until(() => li.opened() === 2);
    await taken(li.room);
    expect(newest).not.toBe(first);
    expect(await statusOf(server, answer.id)).toMatchObject({ acknowledged: 1 });
  });

  it('are given by hand with acknowledge: false', async () => {
    const server = await startServer();
    const li = await open(server, { sub: '42' }, { acknowledge: false });
    const { id } = await server.notify({ user: '42', event: 'e', ack: 60 });
    await li.until(() => li.heard.length > 0);
    await taken(li.room);
    expect(await statusOf(server, id)).toMatchObject({ acknowledged: 0 });
    expect(li.heard[0]?.ack).toBe(true);
    li.room.acknowledge(id);
    await taken(li.room);
    expect(await statusOf(server, id)).toMatchObject({ acknowledged: 1 });
  });

  it('of a thousand at once do not make the server close the connection', async () => {
    const server = await startServer();
    const li = await open(server, { sub: '42' });
    const batch = Array.from({ length: 999 }, () => ({ user: '42', event: 'e', ack: 60 }));
    await server.notify(batch);
    const last = await server.notify({ user: '42', event: 'e', ack: 60, wait: 30 });
    expect(last).toMatchObject({ acknowledged: 1 });
    li.drop();
    await li.until(() => li.opened() === 2);
    await taken(li.room);
    expect([li.opened(), li.faults]).toEqual([2, []]);
  });
});
