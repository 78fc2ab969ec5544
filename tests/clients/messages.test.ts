import { describe, expect, it } from '@jest/globals';
import { connect, token } from '../support/client.js';
import { WebhookReceiver } from '../support/receiver.js';
import { startServer } from '../support/server.js';

const LI = { sub: '42', rooms: ['chat.*'], publish: ['chat.*'] };

async function pair(settings: Record<string, string> = {}) {
  const server = await startServer(settings);
  const li = await connect(server.ws(`/ws?room=chat.1&token=${token(LI)}`));
  const jo = await connect(server.ws(`/ws?room=chat.1&token=${token({ sub: '7', rooms: ['chat.*'] })}`));
  const { connection } = await li.next();
  await li.nextOf('subscribed');
  await jo.nextOf('subscribed');
  return { server, li, jo, connection };
}

describe('a publish', () => {
  it('reaches the others in the room, and says from whom', async () => {
    const { li, jo, connection } = await pair();
    li.send('{"type":"publish","room":"chat.1","event":"typing","data":{"n":1.0,"s":"\\u0041"},"ref":"a"}');
    const published = await li.next();
    expect(published).toEqual({ type: 'published', ref: 'a', id: expect.stringMatching(/^\d+-\d+$/) });
    expect(await jo.nextText()).toBe(
      `{"type":"notification","id":"${published.id}","room":"chat.1","from":{"connection":"${connection}","user":"42"},"event":"typing","data":{"n":1.0,"s":"\\u0041"}}`,
    );
    await li.quiet();
  });

  it('without data has null, and needs no ref', async () => {
    const { li, jo } = await pair();
    li.send({ type: 'publish', room: 'chat.1', event: 'typing' });
    expect(await li.next()).toEqual({ type: 'published', id: expect.any(String) });
    expect(await jo.next()).toMatchObject({ event: 'typing', data: null });
  });

  it('needs no membership, only the right', async () => {
    const { li, server } = await pair();
    const jo = await connect(server.ws(`/ws?room=chat.2&token=${token({ rooms: ['chat.*'] })}`));
    await jo.nextOf('subscribed');
    li.send({ type: 'publish', room: 'chat.2', event: 'e', ref: 1 });
    expect(await li.next()).toMatchObject({ type: 'published', ref: 1 });
    expect(await jo.next()).toMatchObject({ room: 'chat.2', from: { user: '42' } });
  });

  it('is forgotten at once, or after its ttl', async () => {
    const { li, server } = await pair();
    const { id } = await server.notify({ room: 'chat.1', event: 'before' });
    await li.nextOf('notification');
    li.send({ type: 'publish', room: 'chat.1', event: 'gone', ref: 1 });
    await li.nextOf('published');
    li.send({ type: 'publish', room: 'chat.1', event: 'kept', ttl: 60, ref: 2 });
    await li.nextOf('published');
    const late = await connect(
      server.ws(`/ws?room=chat.1&since=${id}&token=${token({ rooms: ['chat.*'] })}`),
    );
    await late.nextOf('subscribed');
    expect(await late.next()).toMatchObject({ event: 'kept' });
    await late.quiet();
  });

  it.each([
    ['room', { room: 'other.1' }, 'forbidden', /"publish" allows/],
    ['name of a room', { room: 'chat.?' }, 'invalid_frame', /room name/],
    ['event of ours', { event: 'postroom.x' }, 'invalid_frame', /must not begin with postroom\./],
    ['event without a name', { event: '' }, 'invalid_frame', /1 to 200 characters/],
    ['ttl', { ttl: 1e9 }, 'invalid_frame', /ttl must be a whole number/],
    ['half a character', { data: { a: ['\ud800'] } }, 'invalid_frame', /data has half a character/],
    ['half a name', { data: { '\udc00': 1 } }, 'invalid_frame', /data has half a character/],
    [
      'depth',
      { data: JSON.parse(`${'['.repeat(91)}${']'.repeat(91)}`) },
      'invalid_frame',
      /more than 90 levels/,
    ],
    ['large data', { data: 'x'.repeat(700) }, 'payload_too_large', /MAX_NOTIFICATION_BYTES/],
  ])('with a wrong %s is refused, and the connection stays', async (_what, wrong, code, message) => {
    const { li, jo } = await pair({ MAX_NOTIFICATION_BYTES: '600' });
    li.send({ type: 'publish', room: 'chat.1', event: 'e', ref: 9, ...wrong });
    expect(await li.next()).toEqual({ type: 'error', code, ref: 9, message: expect.stringMatching(message) });
    await li.quiet();
    await jo.quiet();
  });

  it('cannot forge from whom it is, nor reach others than the room', async () => {
    const { li, jo, connection } = await pair();
    const forged = { connection: '1.1', user: 'root' };
    li.send({
      type: 'publish',
      room: 'chat.1',
      event: 'e',
      from: forged,
      user: '7',
      everyone: true,
      key: 'k',
    });
    await li.nextOf('published');
    expect(await jo.next()).toMatchObject({ from: { connection, user: '42' } });
    await jo.quiet();
  });

  it('is refused above the rate, which is no reason to close', async () => {
    const { li } = await pair({ MAX_CLIENT_MESSAGES_PER_SECOND: '5' });
    for (let ref = 0; ref < 60; ref++) li.send({ type: 'publish', room: 'chat.1', event: 'e', ref });
    const types: string[] = [];
    const refs = new Set<unknown>();
    while (refs.size < 60) {
      const { type, ref, code } = await li.next();
      types.push(String(code ?? type));
      refs.add(ref);
    }
    expect(types.filter(type => type === 'published').length).toBeGreaterThanOrEqual(10);
    expect(types.filter(type => type === 'rate_limited').length).toBeGreaterThan(40);
    await li.quiet();
  });

  it('is told to PHP, with the data as it was', async () => {
    const receiver = await WebhookReceiver.start();
    const { li, connection } = await pair({ ...receiver.settings, WEBHOOK_EVENTS: 'message' });
    li.send({ type: 'publish', room: 'chat.1', event: 'said', data: { text: '付' }, ref: 1 });
    const { id } = await li.nextOf('published');
    expect(await receiver.events(1)).toEqual([
      {
        id: expect.any(String),
        at: expect.any(String),
        node: expect.any(String),
        type: 'message',
        room: 'chat.1',
        event: 'said',
        data: { text: '付' },
        connection,
        user: '42',
        notificationId: id,
      },
    ]);
  });
});
