import { describe, expect, it } from '@jest/globals';
import { connect, token } from '../support/client.js';
import { KEY, startServer, type TestServer } from '../support/server.js';

type Answer = Record<string, unknown>;

async function post(server: TestServer, body: object): Promise<Answer> {
  const response = await fetch(`${server.url}/notify`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return response.json() as Promise<Answer>;
}

async function open(server: TestServer, query: string) {
  const client = await connect(server.ws(query));
  await client.nextOf('welcome');
  if (query.includes('room=')) await client.nextOf('subscribed');
  return client;
}

describe('an acknowledgement', () => {
  it('is asked for by the frame, and counted in the answer that waits for it', async () => {
    const server = await startServer();
    const [a, b] = [await open(server, '/ws?room=public.a'), await open(server, '/ws?room=public.a')];
    const answer = post(server, { room: 'public.a', event: 'e', ack: 60, wait: 30 });
    for (const client of [a, b]) {
      const { id, ack } = await client.nextOf('notification');
      expect(ack).toBe(true);
      client.send({ type: 'ack', id });
    }
    expect(await answer).toMatchObject({ connections: 2, acknowledged: 2, duplicate: false });
  });

  it('is not waited for if a connection has closed', async () => {
    const server = await startServer();
    const [a, b] = [await open(server, '/ws?room=public.a'), await open(server, '/ws?room=public.a')];
    const answer = post(server, { room: 'public.a', event: 'e', ack: 60, wait: 30 });
    const { id } = await a.nextOf('notification');
    await b.nextOf('notification');
    a.send({ type: 'ack', id });
    b.socket.terminate();
    expect(await answer).toMatchObject({ connections: 2, acknowledged: 1 });
  });

  it('is not waited for if nobody is there', async () => {
    const server = await startServer();
    const answer = await post(server, { room: 'public.a', event: 'e', ack: 60, wait: 30 });
    expect(answer).toMatchObject({ connections: 0, acknowledged: 0 });
  });

  it('is waited for no longer than it says, nor than the server lives', async () => {
    const server = await startServer();
    const a = await open(server, '/ws?room=public.a');
    const short = await post(server, { room: 'public.a', event: 'e', ack: 60, wait: 0 });
    expect(short).toMatchObject({ connections: 1, acknowledged: 0 });
    const long = post(server, { room: 'public.a', event: 'f', ack: 60, wait: 30 });
    await a.nextOf('notification');
    await a.nextOf('notification');
    await server.stop();
    expect(await long).toMatchObject({ connections: 1, acknowledged: 0 });
  });

  it('counts once for each connection, and only of what was sent to it', async () => {
    const server = await startServer();
    const a = await open(server, '/ws?room=public.a');
    const other = await open(server, '/ws?room=public.b');
    const { id } = await server.notify({ room: 'public.a', event: 'e', ack: 60 });
    await a.nextOf('notification');
    const late = await open(server, '/ws?room=public.a');
    for (const client of [a, a, other, late]) client.send({ type: 'ack', id });
    a.send({ type: 'ack', id: '1-1' });
    a.send({ type: 'ack', id: 'nonsense' });
    for (const client of [a, other, late]) await client.quiet();
    const known = await post(server, { room: 'public.a', event: 'e', ack: 60, wait: 0, key: 'k' });
    await post(server, { room: 'public.a', event: 'e', ack: 60, wait: 0, key: 'k' });
    expect(known.acknowledged).toBe(0);
    expect(await get(server, `/notifications/${id}`)).toMatchObject({ acknowledged: 1 });
  });

  it('of a client that came back counts for what it got before', async () => {
    const server = await startServer();
    const a = await open(server, '/ws?room=public.a');
    const { id } = await server.notify({ room: 'public.a', event: 'e', ack: 60 });
    await a.nextOf('notification');
    a.socket.terminate();
    const back = await open(server, `/ws?room=public.a&since=${id}`);
    back.send({ type: 'ack', id });
    await back.quiet();
    const again = await open(server, `/ws?room=public.a&since=${id}`);
    again.send({ type: 'ack', id });
    await again.quiet();
    expect(await get(server, `/notifications/${id}`)).toMatchObject({ acknowledged: 1 });
  });
});

async function get(server: TestServer, path: string): Promise<Answer> {
  const response = await fetch(`${server.url}${path}`, { headers: { authorization: `Bearer ${KEY}` } });
  return { status: response.status, ...((await response.json()) as Answer) };
}

describe('GET /notifications/{id}', () => {
  it('tells what became of it', async () => {
    const server = await startServer();
    const li = await open(server, `/ws?room=public.a&token=${token({ sub: '42' })}`);
    const posted = { room: 'public.a', users: ['42', '7'], event: 'e', ack: 60 };
    const { id } = await server.notify(posted);
    await li.nextOf('notification');
    li.send({ type: 'ack', id });
    await li.quiet();
    expect(await get(server, `/notifications/${id}`)).toEqual({
      status: 200,
      id,
      event: 'e',
      addresses: { room: 'public.a', users: ['42', '7'] },
      at: expect.stringMatching(/^\d{4}-.*Z$/),
      connections: 1,
      acknowledged: 1,
      users: [
        { user: '42', connections: 1, acknowledged: 1 },
        { user: '7', connections: 0, acknowledged: 0 },
      ],
      missed: [],
    });
  });

  it.each(['1-1', 'nonsense', '9999999999999-0'])('knows nothing of %s', async id => {
    const server = await startServer();
    expect(await get(server, `/notifications/${id}`)).toMatchObject({ status: 404, code: 'not_found' });
  });

  it('says why a user has it, or not', async () => {
    const server = await startServer();
    const li = await open(server, `/ws?room=public.a&token=${token({ sub: 'li' })}`);
    const jo = await open(server, `/ws?room=public.a&token=${token({ sub: 'jo' })}`);
    const bo = await connect(server.ws(`/ws?room=public.a&token=${token({ sub: 'bo' })}`));
    const { connection } = await bo.next();
    await bo.nextOf('subscribed');
    await open(server, `/ws?token=${token({ sub: 'no' })}`);
    const { id } = await server.notify({ room: 'public.a', event: 'e', ack: 60, except: connection });
    await li.nextOf('notification');
    await jo.nextOf('notification');
    li.send({ type: 'ack', id });
    await li.quiet();
    const states: Record<string, unknown> = {};
    for (const user of ['li', 'jo', 'bo', 'no', 'gone'])
      states[user] = await get(server, `/notifications/${id}?user=${user}`);
    expect(states).toMatchObject({
      li: { user: { user: 'li', state: 'acknowledged' } },
      jo: { user: { user: 'jo', state: 'delivered', detail: expect.stringMatching(/written/) } },
      bo: { user: { state: 'excepted' } },
      no: { user: { state: 'not_in_room' } },
      gone: { user: { state: 'not_connected' } },
    });
  });
});
