import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import express from 'express';
import request from 'supertest';
import { NO_AUTHENTICATION } from '../../src/auth/keys.js';
import { sendProblem } from '../../src/http/problem.js';
import { resourceRouter } from '../../src/ops/control/resource.js';
import { call, control, enter } from '../support/control.js';
import { expectProblem } from '../support/notify.js';
import { startServer } from '../support/server.js';

const REQUESTS = [
  ['GET', '/rooms'],
  ['GET', '/rooms/a'],
  ['GET', '/rooms/a/members'],
  ['GET', '/users/li'],
  ['POST', '/users/online'],
  ['GET', '/connections'],
  ['GET', '/connections/1.1'],
  ['DELETE', '/connections/1.1'],
  ['PUT', '/connections/1.1/rooms/a'],
  ['DELETE', '/connections/1.1/rooms/a'],
  ['PUT', '/users/li/rooms/a'],
  ['DELETE', '/users/li/rooms/a'],
  ['DELETE', '/users/li/connections'],
  ['DELETE', '/rooms/a/connections'],
  ['POST', '/users/li/revoke'],
  ['GET', '/newest'],
] as const;

describe('the control API', () => {
  it.each(REQUESTS)('has no %s %s in front with INTERNAL_ONLY, whatever the key', async (method, path) => {
    const server = await startServer({ INTERNAL_PORT: '0', INTERNAL_ONLY: 'true' });
    for (const headers of [{}, { authorization: undefined }, { authorization: 'Bearer wrong' }]) {
      const answer = await call(server, method, path, { headers });
      expectProblem(answer, 404, 'not_found');
      expect(answer.headers.allow).toBeUndefined();
    }
    expectProblem(await call(server, 'PATCH', path), 404, 'not_found');
  });

  it('is on the internal side, for clients in front', async () => {
    const server = await startServer({ INTERNAL_PORT: '0', INTERNAL_ONLY: 'true' });
    const inside = { url: server.internalUrl ?? '' };
    const client = await enter(server, { claims: { sub: 'li' }, rooms: ['public.a'] });
    expect(await control(inside, 'GET', '/rooms')).toMatchObject({ rooms: [{ room: 'public.a' }] });
    expect(await control(inside, 'PUT', '/users/li/rooms/b')).toEqual({ connections: 1 });
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'b' });
    for (const [method, path] of REQUESTS)
      expectProblem(
        await call(inside, method, path, { headers: { authorization: undefined } }),
        401,
        'unauthorized',
      );
    await client.quiet();
  });

  it('is on both sides with INTERNAL_PORT alone', async () => {
    const server = await startServer({ INTERNAL_PORT: '0' });
    await enter(server, { rooms: ['public.a'] });
    for (const url of [server.url, server.internalUrl ?? ''])
      expect(await control({ url }, 'GET', '/rooms')).toMatchObject({ rooms: [{ room: 'public.a' }] });
  });

  it('needs no key on the Unix socket: its file is the key', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'postroom-'));
    try {
      const server = await startServer({
        NOTIFY_SOCKET: join(directory, 'postroom.sock'),
        INTERNAL_ONLY: 'true',
      });
      const socket = { url: server.socketUrl ?? '' };
      const headers = { authorization: undefined };
      const client = await enter(server, { claims: { sub: 'li' }, rooms: ['public.a'] });
      expect(await control(socket, 'GET', '/users/li', { headers })).toEqual({
        user: 'li',
        connections: 1,
        rooms: ['public.a'],
      });
      const body = { users: ['li'] };
      expect(await control(socket, 'POST', '/users/online', { headers, body })).toEqual({
        online: { li: 1 },
      });
      expect(await control(socket, 'POST', '/users/li/revoke', { headers })).toEqual({ removed: 1 });
      expect(await client.closed).toMatchObject({ code: 4503 });
      expectProblem(await call(server, 'GET', '/rooms'), 404, 'not_found');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('before the server has started', () => {
  it('it says so, and not that nobody is there', async () => {
    let isStarting = true;
    const app = express();
    app.use(
      resourceRouter([{ '/users': { get: () => ({ users: 0 }) } }], NO_AUTHENTICATION, () => isStarting),
    );
    app.use(((error, _request, response, _next) => {
      sendProblem(response, error);
    }) as express.ErrorRequestHandler);
    const answer = await request(app).get('/users');
    expectProblem(answer, 503, 'unavailable');
    expect(answer.headers['retry-after']).toMatch(/^\d+$/);
    isStarting = false;
    expect((await request(app).get('/users')).body).toEqual({ users: 0 });
  });
});
