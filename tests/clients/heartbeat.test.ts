import { describe, expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { startServer } from '../support/server.js';
import { clientFrame, OPCODE, rawConnect } from './raw.js';

describe('heartbeat', () => {
  it('drops a peer that leaves one ping unanswered, without a word', async () => {
    const server = await startServer({ PING_SECONDS: '1' });
    const client = await rawConnect(server.url, '/?room=public.a');
    const opcodes = [];
    for (let frame = await client.next(); frame !== undefined; frame = await client.next())
      opcodes.push(frame.opcode);
    expect(opcodes).toEqual([OPCODE.text, OPCODE.text, OPCODE.ping]);
    expect((await server.notify({ room: 'public.a', event: 'e' })).connections).toBe(0);
  });

  it('keeps a peer that answers', async () => {
    const server = await startServer({ PING_SECONDS: '1' });
    const client = await rawConnect(server.url);
    await client.nextJson();
    for (let count = 0; count < 4; count++) {
      expect((await client.next())?.opcode).toBe(OPCODE.ping);
      client.socket.write(clientFrame('', OPCODE.pong));
    }
    client.send({ type: 'ping', ref: 1 });
    expect(await client.nextJson()).toEqual({ type: 'pong', ref: 1 });
  });

  it('keeps a peer that answers with anything', async () => {
    const server = await startServer({ PING_SECONDS: '1' });
    const client = await rawConnect(server.url);
    await client.nextJson();
    for (let count = 0; count < 3; count++) {
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
    const server = await startServer({ PING_SECONDS: '1', MAX_BUFFERED_BYTES: '65536' });
    const client = await rawConnect(server.url, '/?room=public.a');
    await client.nextJson();
    await client.nextJson();
    client.socket.pause();
    const data = 'x'.repeat(90_000);
    const connections = async () => (await server.notify({ room: 'public.a', event: 'e', data })).connections;
    for (let count = 0; count < 200; count++) await connections();
    while ((await connections()) > 0);
    client.socket.resume();
    await client.closed;
  });

  it('keeps a peer that reads slowly what waits for it', async () => {
    const server = await startServer({ PING_SECONDS: '1', MAX_BUFFERED_BYTES: String(32 * 1024 * 1024) });
    const client = await rawConnect(server.url, '/?room=public.a');
    await client.nextJson();
    await client.nextJson();
    client.socket.pause();
    const item = { room: 'public.a', event: 'e', data: 'x'.repeat(90_000) };
    const BATCHES = 3;
    const SIZE = 85;
    for (let count = 0; count < BATCHES; count++)
      await server.notify(Array.from({ length: SIZE }, () => item));
    // It takes up to 2 MB each time: less than what waits, so that no write is finished between two heartbeats.
    const pace = setInterval(() => {
      client.socket.resume();
      setImmediate(() => client.socket.pause());
    }, 700);
    try {
      for (let count = 0; count < BATCHES * SIZE; count++)
        expect(await client.nextOf(OPCODE.text)).toContain('"notification"');
    } finally {
      clearInterval(pace);
    }
  });
});
