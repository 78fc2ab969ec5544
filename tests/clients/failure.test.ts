import { expect, it } from '@jest/globals';
import { Postroom } from '../../src/core/postroom.js';
import { connect } from '../support/client.js';
import { startServer } from '../support/server.js';

it('closes a connection whose handling throws with 1011, logs why, and lets the others live on', async () => {
  const server = await startServer();
  const [hurt, other] = [await connect(server.ws()), await connect(server.ws('/?room=public.a'))];
  await hurt.next();
  await other.nextOf('subscribed');
  const { subscribe } = Postroom.prototype;
  Postroom.prototype.subscribe = () => {
    throw new Error('a fault of ours');
  };
  try {
    hurt.send({ type: 'subscribe', room: 'public.a' });
    expect(await hurt.closed).toMatchObject({ code: 1011 });
  } finally {
    Postroom.prototype.subscribe = subscribe;
  }
  expect(server.logged.filter(({ level }) => level >= 50)).toMatchObject([
    { err: { message: 'a fault of ours' } },
  ]);
  expect((await server.notify({ everyone: true, event: 'e' })).connections).toBe(1);
  expect(await other.next()).toMatchObject({ type: 'notification' });
});

it('closes one whose opening throws', async () => {
  const server = await startServer();
  const { connect: open } = Postroom.prototype;
  Postroom.prototype.connect = () => {
    throw new Error('a fault of ours');
  };
  try {
    const client = await connect(server.ws());
    expect(await client.closed).toMatchObject({ code: 1011 });
  } finally {
    Postroom.prototype.connect = open;
  }
  await (await connect(server.ws())).next();
});
