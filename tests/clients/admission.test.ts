import { describe, expect, it } from '@jest/globals';
import { connect, token } from '../support/client.js';
import { KEY, startServer } from '../support/server.js';
import { answerTo, clientFrame, OPCODE, RawClient, rawConnect, tcp, upgradeRequest } from './raw.js';

describe('refused upgrades', () => {
  it.each([
    ['a wrong path', upgradeRequest('/nowhere'), 404, 'not_found', /\/ws/],
    [
      'a foreign origin',
      upgradeRequest('/', { Origin: 'https://evil.example' }),
      403,
      'forbidden',
      /ALLOWED_ORIGINS/,
    ],
    ['no key', upgradeRequest('/', { 'Sec-WebSocket-Key': undefined }), 400, 'invalid_request', /Key/],
    ['a wrong key', upgradeRequest('/', { 'Sec-WebSocket-Key': 'short' }), 400, 'invalid_request', /Key/],
    [
      'a wrong version',
      upgradeRequest('/', { 'Sec-WebSocket-Version': '7' }),
      400,
      'invalid_request',
      /Version/,
    ],
    ['another method', upgradeRequest('/', {}, 'PUT'), 400, 'invalid_request', /method/],
    [
      'h2c on /notify',
      upgradeRequest('/notify', { Upgrade: 'h2c' }, 'POST'),
      400,
      'invalid_request',
      /without the Upgrade/,
    ],
    ['garbage', 'what is this\r\n\r\n', 400, 'invalid_request', /HTTP/],
  ])('%s', async (_name, request, status, code, detail) => {
    const server = await startServer({ ALLOWED_ORIGINS: 'https://good.example' });
    const answer = await answerTo(server.url, request);
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/problem+json');
    expect(JSON.parse(answer.body)).toMatchObject({ status, code, detail: expect.stringMatching(detail) });
    await (await connect(server.ws())).next();
  });

  it('lets in an allowed origin, and one that sends none', async () => {
    const server = await startServer({ ALLOWED_ORIGINS: 'https://good.example' });
    const client = await connect(server.ws(), [], { origin: 'https://good.example' });
    expect(await client.next()).toMatchObject({ type: 'welcome' });
    expect(await (await connect(server.ws())).next()).toMatchObject({ type: 'welcome' });
  });

  it('takes MAX_CONNECTIONS, and one more when one has gone', async () => {
    const server = await startServer({ MAX_CONNECTIONS: '2' });
    const first = await connect(server.ws());
    await connect(server.ws());
    const { status, headers, body } = await answerTo(server.url, upgradeRequest());
    expect(status).toBe(503);
    expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    expect(JSON.parse(body)).toMatchObject({ code: 'unavailable' });
    first.socket.close();
    await first.closed;
    const again = await connect(server.ws());
    expect(await again.next()).toMatchObject({ type: 'welcome' });
  });

  it('closes with 4429 what is more than MAX_CONNECTIONS_PER_USER', async () => {
    const server = await startServer({ MAX_CONNECTIONS_PER_USER: '1' });
    const url = server.ws(`/?token=${token({ sub: 1 })}`);
    const first = await connect(url);
    await first.next();
    expect(await (await connect(url)).closed).toMatchObject({ code: 4429 });
    expect(await (await connect(server.ws(`/?token=${token({ sub: 2 })}`))).next()).toMatchObject({
      user: '2',
    });
    await first.quiet();
  });

  it('holds that limit for a user who is named by a token frame', async () => {
    const server = await startServer({ MAX_CONNECTIONS_PER_USER: '1' });
    const first = await connect(server.ws(`/?token=${token({ sub: 1 })}`));
    await first.next();
    const second = await connect(server.ws());
    await second.next();
    second.send({ type: 'token', token: token({ sub: 1 }) });
    await second.next().catch(() => undefined);
    expect((await server.notify({ user: 1, event: 'e' })).connections).toBe(1);
  });
});

describe('how bytes arrive', () => {
  it('byte by byte', async () => {
    const server = await startServer();
    const socket = await tcp(server.url);
    socket.setNoDelay(true);
    const client = new RawClient(socket);
    const bytes = Buffer.concat([Buffer.from(upgradeRequest()), clientFrame('{"type":"ping","ref":1}')]);
    for (const byte of bytes)
      await new Promise<void>(sent => socket.write(Buffer.from([byte]), () => sent()));
    expect(await client.nextJson()).toMatchObject({ type: 'welcome' });
    expect(await client.nextJson()).toEqual({ type: 'pong', ref: 1 });
  });

  it('all in one segment, the upgrade among it', async () => {
    const server = await startServer();
    const client = new RawClient(await tcp(server.url));
    const frames = [1, 2, 3].map(ref => clientFrame(`{"type":"ping","ref":${ref}}`));
    client.socket.write(Buffer.concat([Buffer.from(upgradeRequest()), ...frames]));
    expect(await client.nextJson()).toMatchObject({ type: 'welcome' });
    for (const ref of [1, 2, 3]) expect(await client.nextJson()).toEqual({ type: 'pong', ref });
  });

  it.each([0, 5, 60, 1000])('a peer that vanishes after %d bytes hurts nobody', async count => {
    const server = await startServer();
    const bystander = await connect(server.ws());
    await bystander.next();
    const socket = await tcp(server.url);
    const bytes = Buffer.concat([
      Buffer.from(upgradeRequest('/?room=public.a')),
      clientFrame('{"type":"ping"}'),
    ]);
    await new Promise<void>(sent => socket.write(bytes.subarray(0, count), () => sent()));
    socket.resetAndDestroy();
    await server.notify({ room: 'public.a', event: 'e' });
    await bystander.quiet();
    expect(server.logged.filter(({ level }) => level >= 50)).toEqual([]);
  });
});

describe('stopping', () => {
  it('closes with 4400, refuses upgrades and notifications, and says that it is draining', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    const stubborn = await rawConnect(server.url);
    stubborn.stubborn = true;
    await stubborn.nextJson();
    const { url } = server;
    const stopped = server.stop();
    expect(await client.closed).toMatchObject({ code: 4400 });
    expect((await stubborn.next())?.opcode).toBe(OPCODE.close);
    expect(await answerTo(server.url, upgradeRequest())).toMatchObject({
      status: 503,
      headers: { 'retry-after': expect.stringMatching(/^\d+$/), 'content-type': 'application/problem+json' },
    });
    expect((await fetch(`${server.url}/health/ready`)).status).toBe(503);
    expect((await fetch(`${server.url}/health/live`)).status).toBe(200);
    const publish = await fetch(`${server.url}/notify`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      body: '{"everyone":true,"event":"e"}',
    });
    expect([publish.status, publish.headers.has('retry-after')]).toEqual([503, true]);
    stubborn.socket.destroy();
    await stopped;
    await expect(fetch(url)).rejects.toThrow();
  });
});

it('keeps no trace of rooms that were joined and left', async () => {
  const server = await startServer();
  const health = async () => {
    const answer = await fetch(`${server.url}/health`, { headers: { authorization: `Bearer ${KEY}` } });
    return (await answer.json()) as { rooms: number; connections: number };
  };
  const client = await connect(server.ws());
  await client.next();
  const ROOMS = 3000;
  for (let number = 0; number < ROOMS; number++) {
    client.send({ type: 'subscribe', room: `public.${number}` });
    client.send({ type: 'unsubscribe', room: `public.${number}` });
  }
  for (let number = 0; number < ROOMS; number++) {
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: `public.${number}` });
    expect(await client.next()).toMatchObject({ type: 'unsubscribed', room: `public.${number}` });
  }
  expect(await health()).toMatchObject({ rooms: 0, connections: 1 });
  client.socket.close();
  await client.closed;
  expect(await health()).toMatchObject({ rooms: 0, connections: 0 });
});

describe('what the address of a connection asks for', () => {
  it('may be refused 20 times, and closes the connection with 1008 then', async () => {
    const server = await startServer();
    const rooms = Array.from({ length: 1000 }, (_, n) => `room=secret.${n}`).join('&');
    const client = await connect(server.ws(`/?room=public.a&${rooms}`));
    expect(await client.next()).toMatchObject({ type: 'welcome' });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'public.a' });
    for (let n = 0; n < 20; n++)
      expect(await client.next()).toMatchObject({ type: 'error', code: 'forbidden', room: `secret.${n}` });
    await expect(client.next()).rejects.toThrow('1008');
  });

  it('counts together with what is refused later', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/?room=a%20b&room=secret'));
    await client.next();
    for (let n = 0; n < 2; n++) expect(await client.next()).toMatchObject({ type: 'error' });
    for (let n = 0; n < 18; n++) {
      client.send({ type: 'nonsense' });
      expect(await client.next()).toMatchObject({ type: 'error' });
    }
    expect(await client.closed).toMatchObject({ code: 1008 });
  });

  it('is told where a parameter is none', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/?rom=public.a&x=1'));
    expect(await client.next()).toMatchObject({ type: 'welcome' });
    const [near, other] = [await client.next(), await client.next()];
    expect(near).toMatchObject({ type: 'error', code: 'unknown_parameter' });
    expect(near.message).toBe('rom is not a parameter of the address; did you mean room?');
    expect(other.message).toMatch(/^x is not a parameter of the address; there are room, rooms/);
    await client.quiet();
  });
});
