import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { OPCODE, type RawClient, rawConnect, serverSockets, until } from './raw.js';

const BUFFERED = 128 * 1024;
const FRAME = 60 * 1024;
const TEXT = 'x'.repeat(FRAME);
// More than the kernel's buffers on both sides take.
const COUNT = 400;
const ROOM = 'public.a';

/** A client that joined a room and reads nothing any more, and the server's socket for it. */
async function stalled(server: TestServer): Promise<{ client: RawClient; end: Socket }> {
  let client: RawClient | undefined;
  const [end] = await serverSockets(async () => {
    client = await rawConnect(server.url, `/?room=${ROOM}`);
    await client.nextJson();
    expect(await client.nextJson()).toMatchObject({ type: 'subscribed' });
  });
  if (client === undefined || end === undefined) throw new Error('not connected');
  client.socket.pause();
  return { client, end };
}

/** Publishes so many notifications, and notes the most bytes that ever wait in a socket. */
async function publish(
  server: TestServer,
  end: Socket,
  count = COUNT,
): Promise<{ ids: string[]; most: number }> {
  const ids: string[] = [];
  let most = 0;
  for (let number = 0; number < count; number++) {
    const { id, connections } = await server.notify({ room: ROOM, event: 'e', data: TEXT });
    expect(connections).toBeGreaterThan(0);
    ids.push(id);
    most = Math.max(most, end.writableLength);
  }
  return { ids, most };
}

/** The id of a notification's frame, without parsing the data. */
const idOf = (text: string) => /"id":"([^"]+)"/.exec(text)?.[1] ?? text.slice(0, 100);

describe('a reader that stalls', () => {
  it('costs no more memory than MAX_BUFFERED_BYTES, slows nobody, and gets everything once it reads on', async () => {
    const server = await startServer({ MAX_BUFFERED_BYTES: String(BUFFERED) });
    const { client, end } = await stalled(server);
    const other = await connect(server.ws(`/?room=${ROOM}`));
    await other.nextOf('subscribed');
    const { ids, most } = await publish(server, end);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(BUFFERED);
    // The other client has got all of it, while this one still does not read.
    for (const id of ids) expect(await other.next()).toMatchObject({ id });
    expect(end.writableLength).toBeGreaterThan(0);

    client.socket.resume();
    for (const id of ids) expect(idOf((await client.nextOf(OPCODE.text)) ?? '')).toBe(id);
    client.send({ type: 'ping', ref: 1 });
    expect(await client.nextJson()).toEqual({ type: 'pong', ref: 1 });
    const { id } = await server.notify({ room: ROOM, event: 'live' });
    expect(await client.nextJson()).toMatchObject({ id, event: 'live' });
  });

  it('is served on while others go on publishing', async () => {
    const server = await startServer({ MAX_BUFFERED_BYTES: String(BUFFERED) });
    const { client, end } = await stalled(server);
    const before = await publish(server, end);
    client.socket.resume();
    const after = await publish(server, end, 50);
    for (const id of [...before.ids, ...after.ids])
      expect(idOf((await client.nextOf(OPCODE.text)) ?? '')).toBe(id);
  });

  it('is closed with 4408 once it fell out of the past, and learns so when it comes back', async () => {
    const server = await startServer({
      MAX_BUFFERED_BYTES: String(BUFFERED),
      RETENTION_BYTES: String(1024 * 1024),
    });
    const { client, end } = await stalled(server);
    const { ids } = await publish(server, end);
    client.socket.resume();
    let count = 0;
    for (;;) {
      const frame = await client.next();
      if (frame?.opcode === OPCODE.close) {
        expect(frame.payload.readUInt16BE(0)).toBe(4408);
        break;
      }
      expect(idOf(String(frame?.payload))).toBe(ids[count++]);
    }
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(COUNT);
    const back = await connect(server.ws(`/?room=${ROOM}&since=${ids[count - 1]}`));
    await back.next();
    expect(await back.next()).toMatchObject({ type: 'subscribed', recovered: false });
    await back.quiet();
  });

  it('brings a ttl of 0 too, since it was there when it was published', async () => {
    const server = await startServer({ MAX_BUFFERED_BYTES: String(BUFFERED) });
    const { client, end } = await stalled(server);
    await publish(server, end);
    const { id } = await server.notify({ room: ROOM, event: 'e', ttl: 0 });
    client.socket.resume();
    for (let number = 0; number < COUNT; number++) await client.nextOf(OPCODE.text);
    expect(await client.nextJson()).toMatchObject({ id });
  });

  it('may leave and join while it stands', async () => {
    const server = await startServer({ MAX_BUFFERED_BYTES: String(BUFFERED) });
    const { client, end } = await stalled(server);
    await publish(server, end);
    const before = end.bytesRead;
    const requestBytes = client.socket.bytesWritten;
    client.send({ type: 'unsubscribe', room: ROOM });
    client.send({ type: 'subscribe', room: 'public.b' });
    const sent = client.socket.bytesWritten - requestBytes;
    await until(() => end.bytesRead - before >= sent);
    // The client left one room: it gets nothing more of that room, but still gets the other room.
    const gone = (await server.notify({ room: ROOM, event: 'e' })).id;
    const { id } = await server.notify({ room: 'public.b', event: 'b' });
    client.socket.resume();
    const got: string[] = [];
    for (;;) {
      const text = (await client.nextOf(OPCODE.text)) ?? '';
      got.push(text.startsWith('{"type":"notification"') ? idOf(text) : text);
      if (text.includes('"event":"b"')) break;
    }
    const left = got.indexOf('{"type":"unsubscribed","room":"public.a"}');
    expect(left).toBeGreaterThan(0);
    expect(got[left + 1]).toContain('"subscribed","room":"public.b"');
    expect(got[left + 2]).toBe(id);
    expect(got).toHaveLength(left + 3);
    expect(got).not.toContain(gone);
  });
});

it('does not buffer answers without bound for one who never reads them', async () => {
  const server = await startServer({ MAX_BUFFERED_BYTES: String(BUFFERED) });
  const { client, end } = await stalled(server);
  const PINGS = 3000;
  const ref = 'r'.repeat(10_000);
  for (let number = 0; number < PINGS; number++) client.send({ type: 'ping', ref: `${number} ${ref}` });
  let most = 0;
  // Until nothing moves any more: the server does not read, so the client cannot write.
  for (let turns = 0, before = -1; turns < 300; turns = end.bytesRead === before ? turns + 1 : 0) {
    before = end.bytesRead;
    most = Math.max(most, end.writableLength);
    await new Promise(resolve => setImmediate(resolve));
  }
  expect(client.socket.writableLength).toBeGreaterThan(0);
  expect(most).toBeGreaterThan(BUFFERED);
  expect(most).toBeLessThan(4 * BUFFERED);
  client.socket.resume();
  for (let number = 0; number < PINGS; number++) {
    const text = (await client.nextOf(OPCODE.text)) ?? '';
    expect(text.slice(0, 30)).toMatch(new RegExp(`"ref":"${number} r`));
  }
});
