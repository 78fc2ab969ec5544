import { spawn } from 'node:child_process';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { token as sign } from '../support/client.js';
import { areInOrder } from '../support/resuming.js';
import { KEY, startServer } from '../support/server.js';
import { FakeClock } from './fakes.js';
import { openRealClient } from './real.js';

const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;

describe('with a server', () => {
  it('hears its rooms, its user and everyone, and is left out by its connection id', async () => {
    const server = await startServer();
    const token = async () => sign({ sub: '42', rooms: ['orders.*'] });
    const client = openRealClient(server.url, { token, rooms: ['orders.1'] });
    await client.until(() => client.room.state === 'open');

    await server.notify({ room: 'orders.1', event: 'paid', data: { order: 1 } });
    await server.notify({ user: 42, event: 'greeting' });
    await server.notify({ everyone: true, event: 'news' });
    await server.notify({ everyone: true, event: 'mine', except: client.room.connection });
    await server.notify({ connection: client.room.connection, event: 'last' });

    await client.until(() => client.heard.length === 4);
    expect(client.heard).toMatchObject([
      { event: 'paid', room: 'orders.1', data: { order: 1 } },
      { event: 'greeting', data: null },
      { event: 'news' },
      { event: 'last' },
    ]);
    expect(client.faults).toEqual([]);
  });

  it('misses nothing and doubles nothing, wherever connections are cut', async () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom('a', 'b', 'both', 'user', 'other') },
      { weight: 2, arbitrary: fc.constant('drop' as const) },
      { weight: 2, arbitrary: fc.constant('wait' as const) },
    );
    const server = await startServer();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async steps => {
        const token = () => sign({ sub: '42', rooms: ['*'] });
        const client = openRealClient(server.ws('/ws?room=a&rooms=b'), { token });
        await client.until(() => client.room.state === 'open');
        const posted: string[] = [];
        for (const todo of steps) {
          if (todo === 'drop') client.drop();
          else if (todo === 'wait') await client.until(() => client.room.state === 'open');
          else {
            const address = { both: { rooms: ['b', 'a'] }, user: { user: '42' }, other: { room: 'c' } };
            const to = todo === 'a' || todo === 'b' ? { room: todo } : address[todo];
            const { id } = await server.notify({ ...to, event: todo });
            if (todo !== 'other') posted.push(id);
          }
        }
        const { id } = await server.notify({ room: 'a', event: 'last' });
        await client.until(() => client.heard.at(-1)?.id === id);
        expect(client.heard.map(frame => frame.id)).toEqual([...posted, id]);
        expect([client.lost(), client.faults]).toEqual([0, []]);
        client.room.close();
      }),
      { numRuns: 25 },
    );
  });

  it('comes back with rooms that changed meanwhile', async () => {
    const server = await startServer({ PUBLIC_ROOMS: '*' });
    const client = openRealClient(server.ws('/?room=a'));
    await client.until(() => client.room.state === 'open');
    client.drop();
    await client.until(() => client.room.state !== 'open');
    client.room.subscribe('b');
    client.room.unsubscribe('a');
    await server.notify({ room: 'a', event: 'left' });
    await server.notify({ room: 'b', event: 'joined' });
    await client.until(() => client.heard.length > 0);
    expect(client.heard).toMatchObject([{ event: 'joined' }]);
  });

  it('joins a hundred rooms with the longest names, and hears in each', async () => {
    const rooms = Array.from({ length: 100 }, (_, number) => `${number}`.padEnd(200, '名ä'));
    const server = await startServer({ PUBLIC_ROOMS: '*' });
    const client = openRealClient(server.ws('/ws'), { rooms });
    await client.until(() => client.room.state === 'open');
    client.drop();
    await client.until(() => client.lost() === 1);
    for (const room of rooms) await server.notify({ room, event: 'event' });
    await client.until(() => client.heard.length === 100);
    expect(client.heard.map(({ room }) => room)).toEqual(rooms);
    expect(client.faults).toEqual([]);
  });

  it('tells when the past is gone, and goes on from there', async () => {
    const server = await startServer({ RETENTION_BYTES: '2000' });
    const client = openRealClient(server.ws('/?room=public.a'));
    await client.until(() => client.room.state === 'open');
    await server.notify({ room: 'public.a', event: 'before' });
    await client.until(() => client.heard.length === 1);
    let goOn = () => {};
    const away = openRealClient(server.ws('/?room=public.a'), {
      since: client.room.cursor,
      token: () => new Promise<string>(resolve => (goOn = () => resolve(''))),
    });
    for (let number = 0; number < 50; number++)
      await server.notify({ room: 'public.b', event: 'filler', data: 'x'.repeat(100) });
    goOn();
    await away.until(() => away.lost() > 0);
    await server.notify({ room: 'public.a', event: 'after' });
    await away.until(() => away.heard.length > 0);
    expect(away.heard).toMatchObject([{ event: 'after' }]);
    expect(away.lost()).toBe(1);
    expect(client.lost()).toBe(0);
  });

  it('tells which room is forbidden, and hears the others', async () => {
    const server = await startServer();
    const client = openRealClient(server.ws('/?room=private&room=public.a'));
    await client.until(() => client.faults.length > 0);
    expect(client.faults).toMatchObject([{ code: 'forbidden', room: 'private' }]);
    await server.notify({ rooms: ['private', 'public.a'], event: 'event' });
    await client.until(() => client.heard.length > 0);
    expect(client.heard).toMatchObject([{ room: 'public.a' }]);
  });

  it('renews its token on the open connection, and hears in rooms that only the new one allows', async () => {
    const server = await startServer({ PING_SECONDS: '300' });
    const clock = new FakeClock();
    clock.time = Date.now();
    const tokens = [
      sign({ sub: '42', rooms: ['a'], exp: inSeconds(100) }),
      sign({ sub: '42', rooms: ['b'], exp: inSeconds(3600) }),
    ];
    const client = openRealClient(server.ws('/?room=a'), { clock, token: () => tokens.shift() });
    await client.until(() => client.room.state === 'open');

    await clock.advance(79_000);
    expect(tokens).toHaveLength(1);
    await clock.advance(1_000);
    await client.until(() => client.frames.some(({ type }) => type === 'token'));
    client.room.subscribe('b');
    await client.until(() => client.frames.some(({ type, room }) => type === 'subscribed' && room === 'b'));
    await server.notify({ room: 'a', event: 'no more' });
    await server.notify({ room: 'b', event: 'now' });
    await client.until(() => client.heard.length > 0);

    expect(client.heard).toMatchObject([{ event: 'now' }]);
    expect(client.faults).toMatchObject([{ code: 'forbidden', room: 'a' }]);
    expect(client.opened()).toBe(1);
  });

  it('comes back with a fresh token when the server says that it has expired', async () => {
    const server = await startServer();
    const tokens = [sign({ rooms: ['a'], exp: inSeconds(-3600) }), sign({ rooms: ['a'] })];
    const client = openRealClient(server.ws('/?room=a'), { token: () => tokens.shift() });
    await client.until(() => client.room.state === 'open');
    expect(tokens).toEqual([]);
    await server.notify({ room: 'a', event: 'event' });
    await client.until(() => client.heard.length === 1);
  });

  it('stays away with a token that nobody signed, and says why', async () => {
    const server = await startServer();
    const client = openRealClient(server.ws('/?room=a'), { token: () => 'a.b.c' });
    await client.until(() => client.room.state === 'closed' && client.faults.length === 2);
    expect(client.faults).toMatchObject([{ code: 'invalid_token' }, { code: 4501 }]);
  });

  it('stays away when an operator removes it', async () => {
    const server = await startServer();
    const client = openRealClient(server.ws('/?room=public.a'));
    await client.until(() => client.room.state === 'open');
    await fetch(`${server.url}/connections/${client.room.connection}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${KEY}` },
    });
    await client.until(() => client.faults.length > 0);
    expect(client.room.state).toBe('closed');
    expect(client.faults).toMatchObject([{ code: 4503 }]);
  });

  it('keeps a silent link alive with its own pings', async () => {
    const server = await startServer();
    const clock = new FakeClock();
    const client = openRealClient(server.ws('/?room=public.a'), { clock });
    await client.until(() => client.room.state === 'open');
    for (let beat = 1; beat <= 5; beat++) {
      await clock.advance(25_000);
      await client.until(() => client.frames.filter(({ type }) => type === 'pong').length === beat);
    }
    await clock.advance(24_999);
    expect(client.room.state).toBe('open');
    expect(client.opened()).toBe(1);
  });

  it('keeps the order of a flood', async () => {
    const server = await startServer();
    const client = openRealClient(server.ws('/?room=public.a'));
    await client.until(() => client.room.state === 'open');
    for (let batch = 0; batch < 3; batch++) {
      await server.notify(Array.from({ length: 1_000 }, () => ({ room: 'public.a', event: 'event' })));
      client.drop();
    }
    await client.until(() => client.heard.length >= 3_000);
    expect(client.heard).toHaveLength(3_000);
    expect(areInOrder(client.heard.map(({ id }) => ({ id, data: '' })))).toBe(true);
  });

  it("runs in a Node that has a WebSocket of its own, with nobody's help", async () => {
    const server = await startServer();
    const program = `
      import { postroom } from '${new URL('../../dist/client/postroom.js', import.meta.url)}';
      const room = postroom('${server.ws('/ws?room=public.a')}', { random: () => 0 });
      room.onstate = state => console.log(state);
      room.on('event', data => console.log(data));
      room.on('last', () => room.close());`;
    // The flag is for Node 20; later ones take it without needing it.
    const child = spawn(process.execPath, ['--experimental-websocket', '--input-type=module', '-e', program]);
    let output = '';
    const ended = new Promise(resolve => child.once('close', resolve));
    await new Promise<void>((resolve, reject) => {
      child.once('close', () => reject(new Error(`it ended: ${output}`)));
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', text => {
          output += text;
          if (output.includes('open')) resolve();
        });
    });
    await server.notify({ room: 'public.a', event: 'event', data: 'first' });
    await server.notify({ room: 'public.a', event: 'last' });
    expect(await ended).toBe(0);
    expect(output.split('\n').filter(line => /^\w+$/.test(line))).toEqual(['open', 'first', 'closed']);
  });
});
