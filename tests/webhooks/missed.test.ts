import { describe, expect, it } from '@jest/globals';
import { connect, token } from '../support/client.js';
import { type Event, WebhookReceiver } from '../support/receiver.js';
import { KEY, startServer, type TestServer } from '../support/server.js';

async function start(settings: Record<string, string> = {}) {
  const receiver = await WebhookReceiver.start();
  const server = await startServer({
    ...receiver.settings,
    WEBHOOK_EVENTS: 'notification.missed,message',
    ...settings,
  });
  return { receiver, server };
}

async function open(server: TestServer, user: string, query = '') {
  const claims = { sub: user, rooms: ['*'], publish: ['*'] };
  const client = await connect(server.ws(`/ws?${query}&token=${token(claims)}`));
  await client.nextOf('welcome');
  return client;
}

/** All that was missed, when everything up to now has been told. */
async function missedSoFar(server: TestServer, receiver: WebhookReceiver): Promise<Event[]> {
  const { id } = await server.notify({ user: 'last', event: 'last', ack: 1 });
  const isLast = ({ notification }: Event) => (notification as { id: string }).id === id;
  await receiver.until(() => receiver.taken.some(isLast));
  return receiver.taken.filter(event => !isLast(event));
}

function brief(events: readonly Event[]): unknown[] {
  return events.map(({ notification, user }) => [(notification as { event: string }).event, user]);
}

describe('PHP hears that a notification was missed', () => {
  it('as it was posted, by a user who was not there', async () => {
    const { receiver, server } = await start();
    const posted = { user: '42', event: 'order.paid', ack: 1, ttl: 60, collapse: 'order-1' };
    const response = await fetch(`${server.url}/notify`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      body: `${JSON.stringify(posted).slice(0, -1)},"data":{"total":1.0}}`,
    });
    const { id } = (await response.json()) as { id: string };
    const [event] = await receiver.events(1);
    expect(event).toMatchObject({
      type: 'notification.missed',
      user: '42',
      notification: { id, ...posted, data: { total: 1 } },
    });
    const status = await fetch(`${server.url}/notifications/${id}`, {
      headers: { authorization: `Bearer ${KEY}` },
    });
    expect(await status.json()).toMatchObject({ missed: [{ user: '42', at: expect.any(String) }] });
  });

  it('by each user by name, and not by one who has acknowledged it in one of two tabs', async () => {
    const { receiver, server } = await start();
    const tab = await open(server, '42');
    await open(server, '42');
    await server.notify({ users: ['42', '7', '8'], event: 'e', ack: 2 });
    tab.send({ type: 'ack', id: (await tab.nextOf('notification')).id });
    await receiver.events(2);
    await missedSoFar(server, receiver);
    const missed = brief(receiver.taken).filter(each => !String(each).startsWith('last'));
    expect(missed).toHaveLength(2);
    expect(missed).toEqual(
      expect.arrayContaining([
        ['e', '7'],
        ['e', '8'],
      ]),
    );
  });

  it('of a room only if nobody at all has acknowledged it', async () => {
    const { receiver, server } = await start();
    const li = await open(server, 'li', 'room=a');
    await server.notify({ room: 'a', event: 'taken', ack: 1 });
    li.send({ type: 'ack', id: (await li.nextOf('notification')).id });
    await li.quiet();
    await server.notify({ rooms: ['a', 'b'], event: 'nobody', ack: 1 });
    await server.notify({ room: 'a', user: '7', event: 'both', ack: 1 });
    expect(brief(await missedSoFar(server, receiver))).toEqual([
      ['nobody', null],
      ['both', '7'],
      ['both', null],
    ]);
  });

  it('not if it asks for no acknowledgement', async () => {
    const { receiver, server } = await start();
    await server.notify({ user: '42', event: 'e' });
    expect(await missedSoFar(server, receiver)).toEqual([]);
  });

  it('at once, if RETENTION_BYTES pushes it out before its time', async () => {
    const { receiver, server } = await start({ RETENTION_BYTES: '4000' });
    await server.notify({ user: '42', event: 'early', ack: 500 });
    for (let count = 0; count < 10; count++) await server.notify({ user: '7', event: 'other' });
    expect(brief(await receiver.events(1))).toEqual([['early', '42']]);
  });
});
