import { describe, expect, it } from '@jest/globals';
import { connect, token } from '../support/client.js';
import { type Event, WebhookReceiver } from '../support/receiver.js';
import { startServer } from '../support/server.js';

/** What events say, without what differs each time. */
function told(events: readonly Event[]): object[] {
  return events.map(({ id: _id, at: _at, node: _node, ...rest }) => rest);
}

async function start(settings: Record<string, string> = {}) {
  const receiver = await WebhookReceiver.start();
  const server = await startServer({ ...receiver.settings, PRESENCE_GRACE_SECONDS: '0', ...settings });
  return { receiver, server };
}

describe('PHP hears', () => {
  it('of a connection, from its opening to its end', async () => {
    const { receiver, server } = await start({ WEBHOOK_EVENTS: 'connection.*,room.joined,room.left' });
    const client = await connect(server.ws(`/ws?room=public.a&token=${token({ sub: '42' })}`));
    const { connection } = await client.next();
    client.send({ type: 'subscribe', room: 'public.b' });
    client.send({ type: 'unsubscribe', room: 'public.a' });
    await client.nextOf('unsubscribed');
    client.socket.close();
    const events = await receiver.events(6);
    const about = { connection, user: '42' };
    const network = { address: '127.0.0.1', protocol: 'postroom.v1' };
    expect(told(events)).toEqual([
      { type: 'connection.opened', ...about, ...network },
      { type: 'room.joined', room: 'public.a', ...about },
      { type: 'room.joined', room: 'public.b', ...about },
      { type: 'room.left', room: 'public.a', ...about },
      { type: 'room.left', room: 'public.b', ...about },
      { type: 'connection.closed', ...about, ...network, reason: 'client', seconds: expect.any(Number) },
    ]);
    const ids = events.map(({ id }) => id);
    expect(new Set(ids).size).toBe(6);
    expect(ids).toEqual([...ids].sort());
    expect(events.every(({ at }) => new Date(at).toISOString() === at)).toBe(true);
    expect(receiver.forged).toEqual([]);
    expect(receiver.mostAtOnce).toBe(1);
  });

  it('only of what it asks for', async () => {
    const { receiver, server } = await start({ WEBHOOK_EVENTS: 'room.left' });
    const client = await connect(server.ws('/ws?room=public.a'));
    await client.next();
    client.socket.close();
    expect(told(await receiver.events(1))).toEqual([
      { type: 'room.left', room: 'public.a', connection: expect.any(String), user: null },
    ]);
  });

  it('only of the rooms that it asks for', async () => {
    const { receiver, server } = await start({
      WEBHOOK_EVENTS: 'room.*,message',
      WEBHOOK_ROOMS: 'public.b*',
    });
    const claims = { sub: '42', publish: ['*'] };
    const client = await connect(server.ws(`/ws?room=public.a&room=public.b&token=${token(claims)}`));
    for (const room of ['public.a', 'public.b'])
      client.send({ type: 'publish', room, event: 'e', ref: room });
    await client.nextOf('published');
    await client.nextOf('published');
    const events = await receiver.events(3);
    expect(new Set(events.map(({ type, room }) => `${type} ${room}`))).toEqual(
      new Set(['room.joined public.b', 'room.occupied public.b', 'message public.b']),
    );
  });

  it('of rooms that are occupied and vacated', async () => {
    const { receiver, server } = await start({ WEBHOOK_EVENTS: 'room.occupied,room.vacated' });
    const first = await connect(server.ws('/ws?room=public.a'));
    await first.nextOf('subscribed');
    expect(told(await receiver.events(1))).toEqual([{ type: 'room.occupied', room: 'public.a' }]);
    const second = await connect(server.ws('/ws?room=public.a'));
    await second.nextOf('subscribed');
    first.send({ type: 'unsubscribe', room: 'public.a' });
    await first.nextOf('unsubscribed');
    first.send({ type: 'subscribe', room: 'public.b' });
    expect(told(await receiver.events(2)).at(1)).toEqual({ type: 'room.occupied', room: 'public.b' });
  });

  it('of joins of one connection only so many a second, and of all of them later', async () => {
    const { receiver, server } = await start({ WEBHOOK_EVENTS: 'room.joined' });
    const client = await connect(server.ws());
    await client.next();
    const started = performance.now();
    for (let count = 0; count < 130; count++) {
      client.send({ type: 'subscribe', room: 'public.a' });
      client.send({ type: 'unsubscribe', room: 'public.a' });
    }
    for (let count = 0; count < 130; count++) await client.nextOf('unsubscribed');
    // 260 of them, 100 at once.
    expect(performance.now() - started).toBeGreaterThan(3000);
    await receiver.events(130);
  });

  it('of members, with their info, not of their second tab', async () => {
    const { receiver, server } = await start({ WEBHOOK_EVENTS: 'member.*' });
    const li = token({ sub: '42', rooms: ['presence.*'], info: { name: 'Li' } });
    const tab = await connect(server.ws(`/ws?room=presence.a&token=${li}`));
    await tab.nextOf('subscribed');
    const other = await connect(server.ws(`/ws?room=presence.a&token=${li}`));
    await other.nextOf('subscribed');
    const jo = await connect(server.ws(`/ws?room=presence.a&token=${token({ sub: '7', rooms: ['*'] })}`));
    await jo.nextOf('subscribed');
    expect(told(await receiver.events(2))).toEqual([
      { type: 'member.joined', room: 'presence.a', user: '42', info: { name: 'Li' } },
      { type: 'member.joined', room: 'presence.a', user: '7', info: null },
    ]);
  });
});
