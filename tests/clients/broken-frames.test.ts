import { describe, expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { startServer } from '../support/server.js';
import { clientFrame, OPCODE, RawClient, rawConnect, tcp, upgradeRequest } from './raw.js';

async function open(settings: Record<string, string> = {}) {
  const server = await startServer(settings);
  const client = await connect(server.ws());
  await client.next();
  return { server, client };
}

describe('frames that cannot be taken', () => {
  it.each([
    ['{', 'invalid_json'],
    ['', 'invalid_json'],
    ['hello', 'invalid_json'],
    ['{"type":"dance"}', 'unknown_type'],
    ['{"type":"__proto__"}', 'unknown_type'],
    ['{"type":"constructor"}', 'unknown_type'],
    ['{"type":"welcome"}', 'unknown_type'],
    ['{}', 'unknown_type'],
    ['{"__proto__":{"type":"ping"}}', 'unknown_type'],
    ['{"type":"subscribe"}', 'invalid_frame'],
    ['{"type":"subscribe","room":5}', 'invalid_frame'],
    ['{"type":"subscribe","room":["public.a"]}', 'invalid_frame'],
    ['{"type":"subscribe","room":"public.a","since":5}', 'invalid_frame'],
    ['{"type":"subscribe","__proto__":{"room":"public.a"}}', 'invalid_frame'],
    ['{"type":"token"}', 'invalid_frame'],
    ['{"type":"ping","ref":{}}', 'invalid_frame'],
    ['null', 'invalid_frame'],
    ['[]', undefined],
    ['5', 'invalid_frame'],
    ['"ping"', 'invalid_frame'],
  ])('%s gets an error frame, and the connection goes on', async (text, code) => {
    const { client } = await open();
    client.send(text);
    const error = await client.next();
    expect(error).toEqual({ type: 'error', code: code ?? expect.any(String), message: expect.any(String) });
    expect(String(error.message).length).toBeGreaterThan(10);
    // The validator's own words mean nothing to the author of the frame.
    expect(String(error.message)).not.toMatch(/Invalid input|received|undefined/);
    await client.quiet();
  });

  it('ignores fields that it does not know, __proto__ among them', async () => {
    const { client } = await open();
    client.send('{"type":"subscribe","room":"public.a","__proto__":{"room":"public.b"},"colour":"red"}');
    expect(await client.next()).toMatchObject({ type: 'subscribed', room: 'public.a' });
    expect(({} as Record<string, unknown>).room).toBeUndefined();
  });

  it('closes with 1008 at the twentieth, not before', async () => {
    const { client } = await open();
    for (let count = 1; count < 20; count++) {
      client.send(count % 2 === 0 ? '{' : '{"type":"dance"}');
      expect(await client.next()).toMatchObject({ type: 'error' });
    }
    await client.quiet();
    client.send('{');
    expect(await client.next()).toMatchObject({ type: 'error' });
    expect(await client.closed).toMatchObject({ code: 1008 });
  });

  it('handles nothing that comes after the twentieth', async () => {
    const { server, client } = await open();
    for (let count = 0; count < 20; count++) client.send('{');
    client.send({ type: 'subscribe', room: 'public.a' });
    for (let count = 0; count < 20; count++) expect(await client.next()).toMatchObject({ type: 'error' });
    await expect(client.next()).rejects.toThrow('1008');
    expect((await server.notify({ room: 'public.a', event: 'e' })).connections).toBe(0);
  });

  it('closes with 1003 on a binary frame', async () => {
    const { client } = await open();
    client.socket.send(Buffer.from('{"type":"ping"}'));
    expect(await client.closed).toMatchObject({ code: 1003 });
  });

  it('closes with 1009 on a frame over MAX_FRAME_BYTES, and takes one of just that size', async () => {
    const { client } = await open({ MAX_FRAME_BYTES: '300' });
    const frame = (bytes: number) => `{"type":"ping","ref":"${'x'.repeat(bytes - 24)}"}`;
    expect(frame(300)).toHaveLength(300);
    client.send(frame(300));
    expect(await client.next()).toMatchObject({ type: 'pong' });
    client.send(frame(301));
    expect(await client.closed).toMatchObject({ code: 1009 });
  });

  it('closes with 1009 on fragments that together are too large', async () => {
    const { client } = await open({ MAX_FRAME_BYTES: '300' });
    for (let part = 0; part < 4; part++) client.socket.send('x'.repeat(100), { fin: false });
    expect(await client.closed).toMatchObject({ code: 1009 });
  });

  it('joins the fragments of a frame', async () => {
    const { client } = await open();
    client.socket.send('{"type":"pi', { fin: false });
    client.socket.send('ng","ref":1}', { fin: true });
    expect(await client.next()).toEqual({ type: 'pong', ref: 1 });
  });

  it('closes with 1007 on text that is not UTF-8, and lives on for the others', async () => {
    const { server, client } = await open();
    const raw = await rawConnect(server.url);
    await raw.nextJson();
    raw.socket.write(clientFrame(Buffer.from([0x22, 0xff, 0xfe, 0x22])));
    const close = await raw.next();
    expect(close?.opcode).toBe(OPCODE.close);
    expect(close?.payload.readUInt16BE(0)).toBe(1007);
    await client.quiet();
  });

  it('closes with 1002 on a frame that is not masked', async () => {
    const { server, client } = await open();
    const raw = await rawConnect(server.url);
    await raw.nextJson();
    raw.socket.write(Buffer.from([0x81, 2, 0x7b, 0x7d]));
    const close = await raw.next();
    expect(close?.payload.readUInt16BE(0)).toBe(1002);
    await client.quiet();
  });

  it('answers half of a surrogate pair in well-formed JSON', async () => {
    const { client } = await open();
    client.send('{"type":"subscribe","room":"\\ud800","ref":"\\udc00"}');
    expect(await client.nextText()).toMatch(/"room":"\\ud800","ref":"\\udc00"/);
    await client.quiet();
  });
});

describe('frames in one piece with the upgrade', () => {
  // Around the bytes that node:http gets at a time.
  it.each([1, 50, 88, 89, 90, 91, 92, 100, 500])('are all answered, and later ones too: %d', async count => {
    const server = await startServer();
    const socket = await tcp(server.url);
    const frames = Array.from({ length: count }, (_, ref) =>
      clientFrame(JSON.stringify({ type: 'ping', ref })),
    );
    socket.write(Buffer.concat([Buffer.from(upgradeRequest('/ws')), ...frames]));
    const client = new RawClient(socket);
    expect(await client.nextJson()).toMatchObject({ type: 'welcome' });
    for (let ref = 0; ref < count; ref++) expect(await client.nextJson()).toEqual({ type: 'pong', ref });
    client.send({ type: 'ping', ref: 'later' });
    expect(await client.nextJson()).toEqual({ type: 'pong', ref: 'later' });
  });
});
