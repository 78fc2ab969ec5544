import { describe, expect, it } from '@jest/globals';
import { connect, token } from '../support/client.js';
import { post } from '../support/notify.js';
import { startServer, type TestServer } from '../support/server.js';

const WRONG_KEY = 'Bearer a-wrong-key-that-must-not-be-logged';

function lines(server: TestServer, kind: string) {
  return server.logged.filter(line => line.kind === kind);
}

describe('a refusal leaves a line in the log', () => {
  it('for a wrong key, with the address seen past the trusted proxy, and never the key', async () => {
    const server = await startServer({ TRUST_PROXY: '1' });
    const headers = { authorization: WRONG_KEY, 'x-forwarded-for': '192.0.2.7, 192.0.2.9' };
    for (let i = 0; i < 3; i++) await post(server, { room: 'a', event: 'e' }, headers).expect(401);
    await fetch(`${server.url}/connections/1.1`, { method: 'DELETE', headers });
    // One line in ten seconds for each kind.
    expect(lines(server, 'wrong key')).toHaveLength(1);
    expect(lines(server, 'wrong key')[0]).toMatchObject({ level: 40, path: '/notify', address: '192.0.2.9' });
    expect(JSON.stringify(server.logged)).not.toContain('must-not-be-logged');
  });

  it('for an invalid notification, with the field', async () => {
    const server = await startServer();
    await post(server, { rom: 'a', event: 'e' }).expect(400);
    expect(lines(server, 'invalid notification')[0]).toMatchObject({
      code: 'invalid_notification',
      reason: expect.stringContaining('rom is not a field; did you mean room?'),
      address: '127.0.0.1',
    });
  });

  it('for an unknown path, also of a WebSocket', async () => {
    const server = await startServer();
    await fetch(`${server.url}/nowhere`);
    expect(lines(server, 'unknown path')[0]).toMatchObject({ path: '/nowhere', address: '127.0.0.1' });
    const other = await startServer();
    await expect(connect(other.ws('/socket'))).rejects.toThrow('404');
    expect(lines(other, 'unknown path')[0]).toMatchObject({ path: '/socket', address: '127.0.0.1' });
  });

  it('for a foreign origin', async () => {
    const server = await startServer({ ALLOWED_ORIGINS: 'https://good.example' });
    await expect(connect(server.ws(), [], { origin: 'https://evil.example' })).rejects.toThrow('403');
    expect(lines(server, 'refused origin')[0]).toMatchObject({ origin: 'https://evil.example' });
  });

  it('for a bad token, with the reason, and never the token', async () => {
    const server = await startServer();
    const bad = token({ sub: '42' }, {}, 'another-secret-of-more-than-32-bytes');
    await (await connect(server.ws(`/?token=${bad}`))).closed;
    expect(lines(server, 'bad token')[0]).toMatchObject({ reason: expect.stringContaining('signature') });
    for (const part of bad.split('.')) expect(JSON.stringify(server.logged)).not.toContain(part);
  });

  it('for a room that may not be joined', async () => {
    const server = await startServer();
    const client = await connect(server.ws(`/?token=${token({ sub: '42' })}`));
    await client.next();
    client.send({ type: 'subscribe', room: 'orders.1' });
    await client.nextOf('error');
    expect(lines(server, 'refused room')[0]).toMatchObject({
      room: 'orders.1',
      reason: 'forbidden',
      user: '42',
    });
  });
});

describe('LOG_LEVEL=debug', () => {
  it('shows joins, leaves and publishes', async () => {
    const server = await startServer({ LOG_LEVEL: 'debug' });
    const client = await connect(server.ws('/?room=public.a'));
    const { connection } = await client.nextOf('welcome');
    await client.nextOf('subscribed');
    client.send({ type: 'unsubscribe', room: 'public.a' });
    await client.nextOf('unsubscribed');
    const { id } = await server.notify({ room: 'public.a', event: 'paid' });
    const shown = server.logged.filter(({ level }) => level === 20);
    expect(shown).toMatchObject([
      { msg: 'opened', connection, address: '127.0.0.1' },
      { msg: 'joined', connection, room: 'public.a' },
      { msg: 'left', connection, room: 'public.a' },
      { msg: 'published', id, event: 'paid', addresses: ['room:public.a'] },
    ]);
  });
});
