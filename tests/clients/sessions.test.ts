import { generateKeyPairSync } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createConnection, type Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import jwt from 'jsonwebtoken';
import { type Answer, startBackend } from '../support/backend.js';
import { connect, token } from '../support/client.js';
import { startServer } from '../support/server.js';

/** A backend whose answer can be changed; and its address. */
async function backend(answer: Answer) {
  const php = { answer, asked: [] as IncomingMessage[], url: '' };
  php.url = await startBackend('auth.php', (request, response) => {
    php.asked.push(request);
    php.answer(request, response);
  });
  return php;
}

const PAGE = { headers: { cookie: 'PHPSESSID=li', origin: 'https://a.example' } };
const LI = { sub: '42', rooms: ['chat.*', 'news'], info: { name: 'Li' } };

function claims(value: object): Answer {
  return (_request, response) => response.end(JSON.stringify(value));
}

async function start(answer: Answer, settings: Record<string, string> = {}) {
  const php = await backend(answer);
  const options = { AUTH_URL: php.url, ALLOWED_ORIGINS: 'https://a.example', ...settings };
  return { php, server: await startServer(options, { still: true }) };
}

describe('a client without a token', () => {
  it('is who its cookie says', async () => {
    const { php, server } = await start(claims(LI));
    const li = await connect(server.ws('/ws?room=chat.1'), [], PAGE);
    expect(await li.next()).toMatchObject({ type: 'welcome', user: '42' });
    expect(await li.next()).toMatchObject({ type: 'subscribed', room: 'chat.1' });
    expect(php.asked[0]?.headers).toMatchObject({ ...PAGE.headers, 'x-forwarded-for': '127.0.0.1' });
    li.send({ type: 'subscribe', room: 'other' });
    expect(await li.next()).toMatchObject({
      code: 'forbidden',
      message: expect.stringMatching(/^The session/),
    });
  });

  it('and without a cookie is nobody, and the backend is not asked', async () => {
    const { php, server } = await start(claims(LI));
    const stranger = await connect(server.ws('/ws?room=public.a'));
    expect(await stranger.next()).toMatchObject({ user: null });
    expect(await stranger.next()).toMatchObject({ type: 'subscribed' });
    expect(php.asked).toEqual([]);
  });

  it('is nobody if the backend says so', async () => {
    const { server } = await start((_request, response) => response.writeHead(204).end());
    const stranger = await connect(server.ws('/ws?room=chat.1'), [], PAGE);
    expect(await stranger.next()).toMatchObject({ user: null });
    expect(await stranger.next()).toMatchObject({ code: 'forbidden' });
  });

  it.each([401, 403])('that the backend refuses with %d is closed with 4501', async status => {
    const { server } = await start((_request, response) => response.writeHead(status).end());
    const li = await connect(server.ws(), [], PAGE);
    expect(await li.next()).toMatchObject({ type: 'error', code: 'invalid_token' });
    expect(await li.closed).toMatchObject({ code: 4501 });
  });

  it('that the backend cannot tell gets 503, and comes in later', async () => {
    const { php, server } = await start((_request, response) => response.writeHead(500).end());
    await expect(connect(server.ws(), [], PAGE)).rejects.toThrow(/503/);
    php.answer = claims(LI);
    expect(await (await connect(server.ws(), [], PAGE)).next()).toMatchObject({ user: '42' });
  });

  it('of another site does not get in, and the backend is not asked', async () => {
    const { php, server } = await start(claims(LI));
    const evil = { headers: { ...PAGE.headers, origin: 'https://evil.example' } };
    await expect(connect(server.ws(), [], evil)).rejects.toThrow(/403/);
    expect(php.asked).toEqual([]);
  });

  it('is not asked for if there is a token', async () => {
    const { php, server } = await start(claims(LI));
    const now = Math.floor(server.now() / 1000);
    const jo = await connect(server.ws(`/ws?token=${token({ sub: '7', exp: now + 60 })}`), [], PAGE);
    expect(await jo.next()).toMatchObject({ user: '7' });
    expect(php.asked).toEqual([]);
  });

  it('may come although the tokens of the user were revoked: the backend vouches for it', async () => {
    const { server } = await start(claims(LI));
    const revoked = await fetch(`${server.url}/users/42/revoke`, {
      method: 'POST',
      headers: { authorization: `Bearer a-key-for-tests-of-32-characters` },
    });
    expect(revoked.status).toBe(200);
    server.pass(1);
    expect(await (await connect(server.ws(), [], PAGE)).next()).toMatchObject({ user: '42' });
  });
});

describe('a client that goes away while it is asked for', () => {
  it('is noticed, and the next one is asked for', async () => {
    const held: ServerResponse[] = [];
    const { php, server } = await start((_request, response) => void held.push(response), {
      AUTH_MAX_REQUESTS: '1',
    });
    const { host } = new URL(server.url);
    const upgrade = (cookie: string) =>
      `GET /ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\nOrigin: https://a.example\r\nCookie: ${cookie}\r\n\r\n`;
    const first = open(server.url, upgrade('a=1'));
    while (php.asked.length < 1) await new Promise(setImmediate);
    const second = open(server.url, upgrade('a=2'));
    const third = open(server.url, upgrade('a=3'));
    while ((await sessionsOf(server.url)).waiting < 2) await new Promise(setImmediate);
    second.end();
    third.write('early');
    while ((await sessionsOf(server.url)).waiting > 0) await new Promise(setImmediate);
    held[0]?.end(JSON.stringify(LI));
    while ((await sessionsOf(server.url)).running > 0) await new Promise(setImmediate);
    expect(php.asked).toHaveLength(1);
    first.destroy();
  });

  function open(url: string, request: string): Socket {
    const { hostname, port } = new URL(url);
    const socket = createConnection(Number(port), hostname);
    socket.on('error', () => undefined);
    socket.write(request);
    return socket;
  }

  async function sessionsOf(url: string): Promise<{ running: number; waiting: number }> {
    const headers = { authorization: 'Bearer a-key-for-tests-of-32-characters' };
    const response = await fetch(`${url}/health`, { headers });
    const { sessions } = (await response.json()) as { sessions: { running: number; waiting: number } };
    return sessions;
  }
});

describe('a session', () => {
  async function open(settings: Record<string, string> = {}) {
    const { php, server } = await start(claims(LI), { AUTH_REFRESH_SECONDS: '20', ...settings });
    const li = await connect(server.ws('/ws?room=chat.1&room=news&room=public.a'), [], PAGE);
    await li.nextOf('welcome');
    for (let count = 0; count < 3; count++) await li.nextOf('subscribed');
    return { php, server, li };
  }

  it('is asked for again, and nothing changes if the answer is the same', async () => {
    const { php, server, li } = await open();
    const asked = new Promise<void>(resolve => {
      php.answer = (request, response) => {
        claims(LI)(request, response);
        resolve();
      };
    });
    server.pass(20);
    await asked;
    await li.quiet();
    expect(php.asked).toHaveLength(2);
    expect(php.asked[1]?.headers).toMatchObject(PAGE.headers);
  });

  it('that allows fewer rooms leaves the others', async () => {
    const { php, server, li } = await open();
    php.answer = claims({ ...LI, rooms: ['news'] });
    server.pass(20);
    expect(await li.nextOf('unsubscribed')).toMatchObject({ room: 'chat.1' });
    await li.quiet();
  });

  it.each<[string, Answer]>([
    ['nobody', (_request, response) => response.writeHead(204).end()],
    ['refused', (_request, response) => response.writeHead(401).end()],
    ['somebody else', claims({ sub: '7' })],
  ])('that is now %s closes the connection with 4401', async (_what, answer) => {
    const { php, server, li } = await open();
    php.answer = answer;
    server.pass(20);
    expect(await li.closed).toMatchObject({ code: 4401 });
  });

  it('holds on while the backend fails', async () => {
    const { php, server, li } = await open();
    const failed = new Promise<void>(resolve => {
      php.answer = (_request, response) => {
        response.writeHead(500).end();
        resolve();
      };
    });
    server.pass(20);
    await failed;
    await li.quiet();
    php.answer = claims({ ...LI, rooms: [] });
    server.pass(20);
    expect(await li.nextOf('unsubscribed')).toMatchObject({ room: 'chat.1' });
  });

  it('with an end is not asked for again', async () => {
    const { php, server } = await start(
      (request, response) => claims({ ...LI, exp: Math.floor(Date.now() / 1000) + 3600 })(request, response),
      { AUTH_REFRESH_SECONDS: '20' },
    );
    const li = await connect(server.ws(), [], PAGE);
    await li.next();
    for (let round = 0; round < 3; round++) {
      server.pass(20);
      await li.quiet();
    }
    expect(php.asked).toHaveLength(1);
  });

  it('gives way to a token', async () => {
    const { php, server, li } = await open();
    const exp = Math.floor(server.now() / 1000) + 3600;
    li.send({ type: 'token', token: token({ sub: '42', rooms: ['news'], exp }) });
    expect(await li.nextOf('unsubscribed')).toMatchObject({ room: 'chat.1' });
    for (let round = 0; round < 3; round++) {
      server.pass(20);
      await li.quiet();
    }
    expect(php.asked).toHaveLength(1);
  });
});

describe('a token of a key at JWT_JWKS_URL', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'a', alg: 'ES256', use: 'sig' }] };
  const sign = (payload: object) =>
    jwt.sign({ exp: Math.floor(Date.now() / 1000) + 3600, ...payload }, privateKey, {
      algorithm: 'ES256',
      keyid: 'a',
    });

  it('is taken, also in a frame', async () => {
    const php = await backend(claims(jwks));
    const server = await startServer({ JWT_JWKS_URL: php.url });
    const li = await connect(server.ws(`/ws?token=${sign({ sub: '42' })}`));
    expect(await li.next()).toMatchObject({ user: '42' });
    const jo = await connect(server.ws());
    expect(await jo.next()).toMatchObject({ user: null });
    jo.send({ type: 'token', token: sign({ sub: '7' }), ref: 1 });
    expect(await jo.next()).toMatchObject({ type: 'token', ref: 1 });
  });

  it('is refused with 503 while the keys were never reached; in a frame, what was stays', async () => {
    const php = await backend((_request, response) => response.writeHead(500).end());
    const server = await startServer({ JWT_JWKS_URL: php.url });
    await expect(connect(server.ws(`/ws?token=${sign({ sub: '42' })}`))).rejects.toThrow(/503/);
    const jo = await connect(server.ws(`/ws?room=public.a&token=${token({ sub: '7' })}`));
    await jo.nextOf('subscribed');
    jo.send({ type: 'token', token: sign({ sub: '7' }), ref: 1 });
    expect(await jo.next()).toMatchObject({ type: 'error', code: 'unavailable', ref: 1 });
    await jo.quiet();
  });
});
