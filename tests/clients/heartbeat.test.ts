import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { clientFrame, OPCODE, type RawClient, rawConnect, serverSockets, until } from './raw.js';

/** A server that pings every second, and whose time moves only with `pass`. */
const startPinging = (settings: Record<string, string> = {}) =>
  startServer({ PING_SECONDS: '1', ...settings }, { still: true });

/** A client, and the server's socket for it. */
async function bothEnds(server: TestServer, path?: string): Promise<{ client: RawClient; end: Socket }> {
  let client: RawClient | undefined;
  const [end] = await serverSockets(async () => {
    client = await rawConnect(server.url, path);
  });
  if (client === undefined || end === undefined) throw new Error('not connected');
  return { client, end };
}

describe('heartbeat', () => {
  it('drops a peer that leaves one ping unanswered, without a word', async () => {
    const server = await startPinging();
    const client = await rawConnect(server.url, '/?room=public.a');
    server.pass(1);
    const opcodes = [];
    for (let frame = await client.next(); frame !== undefined; frame = await client.next()) {
      opcodes.push(frame.opcode);
      if (frame.opcode === OPCODE.ping) server.pass(1);
    }
    expect(opcodes).toEqual([OPCODE.text, OPCODE.text, OPCODE.ping]);
    expect((await server.notify({ room: 'public.a', event: 'e' })).connections).toBe(0);
  });

  it('keeps a peer that answers', async () => {
    const server = await startPinging();
    const { client, end } = await bothEnds(server);
    await client.nextJson();
    for (let count = 0; count < 4; count++) {
      server.pass(1);
      expect((await client.next())?.opcode).toBe(OPCODE.ping);
      const before = end.bytesRead;
      client.socket.write(clientFrame('', OPCODE.pong));
      await until(() => end.bytesRead > before);
    }
    client.send({ type: 'ping', ref: 1 });
    expect(await client.nextJson()).toEqual({ type: 'pong', ref: 1 });
  });

  it('keeps a peer that answers with anything', async () => {
    const server = await startPinging();
    const client = await rawConnect(server.url);
    await client.nextJson();
    for (let count = 0; count < 3; count++) {
      server.pass(1);
      expect((await client.next())?.opcode).toBe(OPCODE.ping);
      client.send({ type: 'ping' });
      expect((await client.next())?.opcode).toBe(OPCODE.text);
    }
  });

  it('answers a ping of the client', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    const answer = new Promise(resolve => client.socket.once('pong', data => resolve(String(data))));
    client.socket.ping('hello');
    expect(await answer).toBe('hello');
  });

  it('drops a peer that stands with a full socket', async () => {
    const server = await startPinging({ MAX_BUFFERED_BYTES: '65536' });
    const client = await rawConnect(server.url, '/?room=public.a');
    await client.nextJson();
    await client.nextJson();
    client.socket.pause();
    const data = 'x'.repeat(90_000);
    const connections = async () => (await server.notify({ room: 'public.a', event: 'e', data })).connections;
    for (let count = 0; count < 200; count++) await connections();
    // It gets ten heartbeats, and the kernel may take a little more in between.
    server.pass(10);
    expect(await connections()).toBe(1);
    while ((await connections()) > 0) server.pass(1);
    client.socket.resume();
    await client.closed;
  });

  it('keeps a peer that reads slowly what waits for it', async () => {
    const server = await startPinging({ MAX_BUFFERED_BYTES: String(32 * 1024 * 1024) });
    const { client, end } = await bothEnds(server, '/?room=public.a');
    await client.nextJson();
    await client.nextJson();
    client.socket.pause();
    const item = { room: 'public.a', event: 'e', data: 'x'.repeat(90_000) };
    const BATCHES = 3;
    const SIZE = 85;
    for (let count = 0; count < BATCHES; count++)
      await server.notify(Array.from({ length: SIZE }, () => item));
    // It takes 2 MB between two heartbeats. This is less than a batch, so in some heartbeats no write is finished.
    const STEP = 2 * 1024 * 1024;
    let unfinished = 0;
    while (end.writableLength > 0) {
      const waited = end.writableLength;
      const before = client.socket.bytesRead;
      client.socket.resume();
      await until(() => client.socket.bytesRead - before >= STEP || end.writableLength === 0);
      client.socket.pause();
      server.pass(1);
      if (end.writableLength === waited) unfinished++;
    }
    expect(unfinished).toBeGreaterThan(1);
    client.socket.resume();
    for (let count = 0; count < BATCHES * SIZE; count++)
      expect(await client.nextOf(OPCODE.text)).toContain('"notification"');
  });
});
