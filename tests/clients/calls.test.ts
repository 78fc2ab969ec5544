import type { ServerResponse } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { Webhook } from 'standardwebhooks';
import { startBackend } from '../support/backend.js';
import { connect, token } from '../support/client.js';
import { WEBHOOK_SECRET } from '../support/receiver.js';
import { startServer } from '../support/server.js';

type Answer = (response: ServerResponse, call: { event: string; [field: string]: unknown }) => void;

/** A backend that is called, and the settings of a server that calls it. */
async function backend(answer: Answer) {
  const asked: { body: string; call: unknown }[] = [];
  const waiting: (() => void)[] = [];
  const url = await startBackend('call.php', async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const call = new Webhook(WEBHOOK_SECRET).verify(body, request.headers as Record<string, string>);
    asked.push({ body, call });
    for (const wake of waiting.splice(0)) wake();
    answer(response, call as { event: string });
  });
  return {
    asked,
    settings: { CALL_URL: url, WEBHOOK_SECRET },
    async until(count: number) {
      while (asked.length < count) await new Promise<void>(resolve => waiting.push(resolve));
    },
  };
}

async function called(answer: Answer, settings: Record<string, string> = {}) {
  const php = await backend(answer);
  const server = await startServer({ ...php.settings, ...settings });
  const li = await connect(server.ws(`/ws?token=${token({ sub: '42' })}`));
  const { connection } = await li.next();
  return { php, server, li, connection };
}

describe('a call', () => {
  it('is answered by PHP, over the same socket', async () => {
    const { php, li, connection } = await called(response => response.end('{"total":1.0}'));
    li.send('{"type":"call","event":"cart.add","data":{"id":1.0},"ref":"a"}');
    expect(await li.nextText()).toBe('{"type":"result","ref":"a","data":{"total":1.0}}');
    expect(php.asked.map(({ body }) => body)).toEqual([
      `{"event":"cart.add","data":{"id":1.0},"connection":"${connection}","user":"42"}`,
    ]);
  });

  it('of anybody is answered; PHP sees that there is no user', async () => {
    const { php, server } = await called((response, { user }) => response.end(JSON.stringify({ user })));
    const stranger = await connect(server.ws());
    await stranger.next();
    stranger.send({ type: 'call', event: 'e', ref: 1 });
    expect(await stranger.next()).toEqual({ type: 'result', ref: 1, data: { user: null } });
    expect(php.asked).toHaveLength(1);
  });

  it.each([
    ['', null],
    ['  \n', null],
    ['"text"', 'text'],
    ['[1,2]', [1, 2]],
    ['false', false],
  ])('may be answered with any JSON: %j', async (text, data) => {
    const { li } = await called(response => response.end(text));
    li.send({ type: 'call', event: 'e', ref: 1 });
    expect(await li.next()).toEqual({ type: 'result', ref: 1, data });
  });

  it.each<[string, Answer]>([
    ['an HTML page', response => response.end('<h1>Fatal error</h1>')],
    ['500', response => response.writeHead(500).end('{"secret":"hush"}')],
    ['a redirect', response => response.writeHead(302, { location: '/login' }).end()],
    ['too much', response => response.end(JSON.stringify('x'.repeat(200_000)))],
    [
      'half an answer',
      response => response.writeHead(200, { 'content-length': 9 }).write('{', () => response.destroy()),
    ],
    ['nothing', response => response.destroy()],
  ])(
    'that is answered with %s has failed; the log says why, the client does not hear it',
    async (_what, answer) => {
      const { php, server, li } = await called(answer);
      li.send({ type: 'call', event: 'e', ref: 1 });
      expect(await li.next()).toEqual({
        type: 'error',
        code: 'call_failed',
        ref: 1,
        message: expect.not.stringMatching(/hush|Fatal/),
      });
      expect(server.logged.filter(({ kind }) => kind === 'failed call')).toHaveLength(1);
      expect(php.asked).toHaveLength(1);
    },
  );

  it('that PHP does not answer in time ends, and the next one is answered', async () => {
    const { li } = await called((response, { event }) => event === 'quick' && response.end('1'), {
      CALL_TIMEOUT_SECONDS: '1',
    });
    li.send({ type: 'call', event: 'slow', ref: 1 });
    li.send({ type: 'call', event: 'quick', ref: 2 });
    expect(await li.next()).toEqual({ type: 'result', ref: 2, data: 1 });
    expect(await li.next()).toMatchObject({ type: 'error', code: 'call_timeout', ref: 1 });
  });

  it('is refused while PHP has enough of them, of one connection and of all', async () => {
    const waiting: ServerResponse[] = [];
    const { php, server, li } = await called(response => waiting.push(response), { MAX_CALLS: '7' });
    const jo = await connect(server.ws(`/ws?token=${token({ sub: '7' })}`));
    await jo.next();
    for (let ref = 0; ref < 6; ref++) li.send({ type: 'call', event: 'e', ref });
    expect(await li.next()).toMatchObject({
      code: 'call_busy',
      ref: 5,
      message: expect.stringMatching(/5 calls/),
    });
    await php.until(5);
    for (let ref = 0; ref < 3; ref++) jo.send({ type: 'call', event: 'e', ref });
    expect(await jo.next()).toMatchObject({
      code: 'call_busy',
      ref: 2,
      message: expect.stringMatching(/MAX_CALLS/),
    });
    await php.until(7);
    for (const response of waiting.splice(0)) response.end('true');
    for (let count = 0; count < 5; count++)
      expect(await li.next()).toMatchObject({ type: 'result', data: true });
    li.send({ type: 'call', event: 'e', ref: 'again' });
    await php.until(8);
    waiting[0]?.end('true');
    expect(await li.next()).toMatchObject({ type: 'result', ref: 'again' });
  });

  it('of one address leaves room for others, however many connections it has', async () => {
    const { php, server, li } = await called(response => response, { MAX_CALLS: '40' });
    for (let count = 0; count < 2; count++) {
      const stranger = await connect(server.ws());
      await stranger.next();
      for (let ref = 0; ref < 5; ref++) stranger.send({ type: 'call', event: 'e', ref });
      await php.until(5 * (count + 1));
    }
    const one = await connect(server.ws());
    await one.next();
    one.send({ type: 'call', event: 'e', ref: 1 });
    expect(await one.next()).toMatchObject({
      code: 'call_busy',
      message: expect.stringMatching(/a quarter/),
    });
    li.send({ type: 'call', event: 'e', ref: 1 });
    await php.until(11);
  });

  it('of a client that has gone takes its place until PHP has answered', async () => {
    const waiting: ServerResponse[] = [];
    const { php, server, li } = await called(response => waiting.push(response), { MAX_CALLS: '1' });
    li.send({ type: 'call', event: 'e', ref: 1 });
    await php.until(1);
    li.socket.terminate();
    const jo = await connect(server.ws());
    await jo.next();
    jo.send({ type: 'call', event: 'e', ref: 1 });
    expect(await jo.next()).toMatchObject({ code: 'call_busy' });
  });

  it('has no type without CALL_URL', async () => {
    const server = await startServer();
    const li = await connect(server.ws());
    await li.next();
    li.send({ type: 'call', event: 'e', ref: 1 });
    expect(await li.next()).toMatchObject({
      code: 'unknown_type',
      ref: 1,
      message: expect.stringMatching(/CALL_URL/),
    });
  });
});
