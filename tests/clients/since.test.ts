import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { connect, type TestClient, token } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { clockOf } from '../support/clock.js';

const directories: string[] = [];
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true });
});

/** The data of so many notifications, which must be the next frames. */
async function data(client: TestClient, count: number): Promise<unknown[]> {
  const got = [];
  for (let number = 0; number < count; number++) {
    const frame = await client.next();
    expect(frame.type).toBe('notification');
    got.push(frame.data);
  }
  return got;
}

async function publish(server: TestServer, room: string, ...values: unknown[]): Promise<string[]> {
  const ids = [];
  for (const value of values) ids.push((await server.notify({ room, event: 'e', data: value })).id);
  return ids;
}

describe('since at connecting', () => {
  it('brings everything after it: rooms, user, everyone, in order, then the live ones', async () => {
    const server = await startServer();
    const [first] = await publish(server, 'public.a', 'before');
    await publish(server, 'public.a', 1);
    await server.notify({ user: 'ann', event: 'e', data: 2 });
    await publish(server, 'public.other', 'not mine');
    await server.notify({ user: 'bob', event: 'e', data: 'not mine' });
    await server.notify({ everyone: true, event: 'e', data: 3 });
    await server.notify({
      rooms: ['public.b', 'public.a'],
      user: 'ann',
      everyone: true,
      event: 'e',
      data: 4,
    });
    const jwt = token({ sub: 'ann' });
    const client = await connect(server.ws(`/?rooms=public.a,public.b&since=${first}&token=${jwt}`));
    expect(await client.next()).toMatchObject({ type: 'welcome', id: first });
    expect(await client.next()).toEqual({ type: 'subscribed', room: 'public.a', id: first, recovered: true });
    expect(await client.next()).toEqual({ type: 'subscribed', room: 'public.b', id: first, recovered: true });
    expect(await data(client, 4)).toEqual([1, 2, 3, 4]);
    await client.quiet();
    await publish(server, 'public.a', 5);
    expect(await data(client, 1)).toEqual([5]);
    await client.quiet();
  });

  it('brings nothing when nothing was missed', async () => {
    const server = await startServer();
    const [id] = await publish(server, 'public.a', 1);
    const client = await connect(server.ws(`/?room=public.a&since=${id}`));
    await client.next();
    expect(await client.next()).toMatchObject({ type: 'subscribed', recovered: true, id });
    await client.quiet();
  });

  it('takes the id of the welcome as a cursor', async () => {
    const server = await startServer();
    const first = await connect(server.ws());
    const { id } = await first.next();
    await publish(server, 'public.a', 1);
    const client = await connect(server.ws(`/?room=public.a&since=${id}`));
    await client.next();
    expect(await client.next()).toMatchObject({ recovered: true });
    expect(await data(client, 1)).toEqual([1]);
  });

  it('leaves out what it was excepted from by nothing but its own id', async () => {
    const server = await startServer();
    const first = await connect(server.ws('/?room=public.a'));
    const { connection, id } = await first.next();
    await server.notify({ room: 'public.a', event: 'e', data: 1, except: String(connection) });
    const client = await connect(server.ws(`/?room=public.a&since=${id}`));
    await client.nextOf('subscribed');
    expect(await data(client, 1)).toEqual([1]);
  });

  it.each(['yesterday', '5', '-', '1-2-3', '99999999999999-0', "1'--", '１-２'])(
    'cannot honour %j: recovered is false, nothing is replayed, what is new comes',
    async since => {
      const server = await startServer();
      await publish(server, 'public.a', 'old');
      const client = await connect(server.ws(`/?room=public.a&since=${encodeURIComponent(since)}`));
      await client.next();
      expect(await client.next()).toMatchObject({ type: 'subscribed', recovered: false });
      await publish(server, 'public.a', 'new');
      const { data } = await client.nextOf('notification');
      expect(data).toBe('new');
      await client.quiet();
    },
  );
});

describe('since at subscribing', () => {
  it('brings the past of that room only', async () => {
    const server = await startServer();
    const [first] = await publish(server, 'public.a', 0);
    const client = await connect(server.ws('/?room=public.b'));
    await client.nextOf('subscribed');
    await publish(server, 'public.b', 'b');
    expect(await data(client, 1)).toEqual(['b']);
    const ids = await publish(server, 'public.a', 1, 2);
    client.send({ type: 'subscribe', room: 'public.a', since: first, ref: 1 });
    expect(await client.next()).toEqual({
      type: 'subscribed',
      room: 'public.a',
      id: first,
      recovered: true,
      ref: 1,
    });
    const got = [await client.next(), await client.next()];
    expect(got).toEqual(
      [1, 2].map((value, index) => ({
        type: 'notification',
        id: ids[index],
        room: 'public.a',
        event: 'e',
        data: value,
      })),
    );
    await client.quiet();
    await publish(server, 'public.a', 3);
    expect(await data(client, 1)).toEqual([3]);
  });

  it.each(['yesterday', '99999999999999-0'])('cannot honour %s, joins all the same', async since => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    await publish(server, 'public.a', 'old');
    client.send({ type: 'subscribe', room: 'public.a', since });
    expect(await client.nextOf('subscribed')).toMatchObject({ recovered: false });
    await publish(server, 'public.a', 'new');
    expect(await data(client, 1)).toEqual(['new']);
  });

  it('does not bring again what was seen before the room was left', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/?room=public.a'));
    const { id } = await client.next();
    await client.next();
    await publish(server, 'public.a', 1);
    expect(await data(client, 1)).toEqual([1]);
    client.send({ type: 'unsubscribe', room: 'public.a' });
    await client.next();
    await publish(server, 'public.a', 2);
    client.send({ type: 'subscribe', room: 'public.a', since: id });
    expect(await client.next()).toMatchObject({ type: 'subscribed', recovered: true });
    expect(await data(client, 1)).toEqual([2]);
    await client.quiet();
  });

  it('does not bring again what came through another room, the user or everyone', async () => {
    const server = await startServer();
    const client = await connect(server.ws(`/?room=public.a&token=${token({ sub: 1 })}`));
    const { id } = await client.next();
    await client.next();
    await server.notify({ rooms: ['public.a', 'public.b'], event: 'e', data: 1 });
    await server.notify({ room: 'public.b', user: 1, event: 'e', data: 2 });
    await server.notify({ room: 'public.b', everyone: true, event: 'e', data: 3 });
    await server.notify({ room: 'public.b', event: 'e', data: 4 });
    expect(await data(client, 3)).toEqual([1, 2, 3]);
    client.send({ type: 'unsubscribe', room: 'public.a' });
    await client.next();
    client.send({ type: 'subscribe', room: 'public.b', since: id });
    await client.next();
    expect(await data(client, 1)).toEqual([4]);
    await client.quiet();
  });

  it('brings the past also to one who has joined already', async () => {
    const server = await startServer();
    const [first] = await publish(server, 'public.a', 0);
    await publish(server, 'public.a', 1);
    const client = await connect(server.ws('/?room=public.a'));
    await client.nextOf('subscribed');
    await publish(server, 'public.a', 2);
    expect(await data(client, 1)).toEqual([2]);
    client.send({ type: 'subscribe', room: 'public.a', since: first });
    expect(await client.next()).toMatchObject({ recovered: true });
    expect(await data(client, 1)).toEqual([1]);
    await client.quiet();
  });
});

describe('the end of the past', () => {
  it('is RETENTION_SECONDS ago', async () => {
    let now = Date.now();
    const server = await startServer({ RETENTION_SECONDS: '60' }, { clock: clockOf(() => now) });
    const [first] = await publish(server, 'public.a', 1);
    const [second] = await publish(server, 'public.a', 2);
    const recovered = async (since: string | undefined) => {
      const client = await connect(server.ws(`/?room=public.a&since=${since}`));
      await client.next();
      return { client, recovered: (await client.next()).recovered };
    };
    expect((await recovered(first)).recovered).toBe(true);
    now += 61_000;
    const [third] = await publish(server, 'public.a', 3);
    expect((await recovered(first)).recovered).toBe(false);
    const still = await recovered(second);
    expect(still.recovered).toBe(true);
    expect(await data(still.client, 1)).toEqual([3]);
    expect((await recovered(third)).recovered).toBe(true);
  });

  it.each(['memory', 'disk'])('comes in time also where the clock is set back: %s', async journal => {
    const directory = mkdtempSync(join(tmpdir(), 'since-'));
    directories.push(directory);
    let [now, elapsed] = [Date.now(), 0];
    const clock = clockOf(
      () => now,
      () => elapsed,
    );
    const settings = { RETENTION_SECONDS: '60', JOURNAL: journal, DATA_DIR: directory };
    const server = await startServer(settings, { clock });
    const past = await publish(server, 'public.a', 1, 2);
    await server.notify({ room: 'public.a', event: 'e', data: 'short', ttl: 10 });
    const heard = async () => {
      const client = await connect(server.ws(`/?room=public.a&since=${past[0]}`));
      const { recovered } = await client.next();
      await client.nextOf('subscribed');
      // It comes after the whole past.
      await server.notify({ room: 'public.a', event: 'e', data: 'live', ttl: 0 });
      const found = [];
      for (let frame = await client.next(); frame.data !== 'live'; frame = await client.next())
        found.push(frame.data);
      return { recovered, found };
    };
    expect(await heard()).toEqual({ recovered: true, found: [2, 'short'] });
    now -= 3_600_000;
    elapsed += 11_000;
    expect(await heard()).toEqual({ recovered: true, found: [2] });
    elapsed += 50_000;
    // It is trimmed at the end of a turn in which an entry comes.
    await server.notify({ room: 'public.a', event: 'e', data: 3 });
    expect((await heard()).recovered).toBe(false);
  });

  it('is where RETENTION_BYTES are full', async () => {
    const server = await startServer({ RETENTION_BYTES: '20000' });
    const big = 'x'.repeat(5000);
    const [first] = await publish(server, 'public.a', big);
    const ids = await publish(server, 'public.a', big, big, big, big);
    const client = await connect(server.ws(`/?room=public.a&since=${first}`));
    await client.next();
    expect(await client.next()).toMatchObject({ recovered: false });
    await client.quiet();
    const other = await connect(server.ws(`/?room=public.a&since=${ids[2]}`));
    await other.next();
    expect(await other.next()).toMatchObject({ recovered: true });
    expect(await data(other, 1)).toEqual([big]);
    await other.quiet();
  });
});

describe('ttl', () => {
  it('over: not replayed; not over: replayed', async () => {
    let now = Date.now();
    const server = await startServer({}, { clock: clockOf(() => now) });
    const [first] = await publish(server, 'public.a', 0);
    for (const [ttl, value] of [
      [0, 'live only'],
      [10, 'ten seconds'],
      [20, 'twenty seconds'],
    ])
      await server.notify({ room: 'public.a', event: 'e', ttl, data: value });
    now += 15_000;
    const client = await connect(server.ws(`/?room=public.a&since=${first}`));
    await client.nextOf('subscribed');
    expect(await data(client, 1)).toEqual(['twenty seconds']);
    await client.quiet();
  });

  it('0 reaches those who are there', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/?room=public.a'));
    await client.nextOf('subscribed');
    expect(await server.notify({ room: 'public.a', event: 'e', ttl: 0 })).toMatchObject({ connections: 1 });
    await client.nextOf('notification');
  });
});

it('has no gap and no double while others publish and clients come and go', async () => {
  const server = await startServer();
  const COUNT = 400;
  const { id: beginning } = await (await connect(server.ws())).next();
  const publishing = (async () => {
    for (let number = 0; number < COUNT; number += 4)
      await Promise.all(
        [0, 1, 2, 3].map(() =>
          server.notify({ rooms: ['public.a', 'public.b'], everyone: true, event: 'e' }),
        ),
      );
    const { id } = await server.notify({ room: 'public.a', event: 'last' });
    return id;
  })();
  /** Reads a few, goes, comes back with its cursor, until the last. */
  const visit = async (stay: number) => {
    let since = String(beginning);
    const got: string[] = [];
    for (;;) {
      const client = await connect(server.ws(`/?rooms=public.a,public.b&since=${since}`));
      await client.next();
      for (let room = 0; room < 2; room++) expect(await client.next()).toMatchObject({ recovered: true });
      for (let number = 0; number < stay; number++) {
        const { id, event } = await client.nextOf('notification');
        got.push(String(id));
        since = String(id);
        if (event === 'last') return got;
      }
      client.socket.terminate();
    }
  };
  const visits = [1, 3, 7, 50].map(visit);
  const last = await publishing;
  for (const got of await Promise.all(visits)) {
    expect(got.at(-1)).toBe(last);
    expect(new Set(got).size).toBe(got.length);
    expect(got.length).toBe(COUNT + 1);
  }
});
