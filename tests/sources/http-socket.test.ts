import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { connect, type TestClient } from '../support/client.js';
import { expectProblem, post } from '../support/notify.js';
import { chunk, LAST_CHUNK, notifyHead, notifyRequest, withSocket } from '../support/raw.js';
import { startServer, type TestServer } from '../support/server.js';
import { serverSockets } from '../clients/raw.js';

const BODY = '{"room":"public.a","event":"e"}';
const MIB = 1024 * 1024;
const EXPECT = { Expect: '100-continue' };
const WRONG = { Authorization: 'Bearer not-one-of-the-keys-of-this-server' };

async function listener(server: TestServer): Promise<TestClient> {
  const client = await connect(server.ws('/?room=public.a'));
  await client.nextOf('subscribed');
  return client;
}

/** A TCP connection without a request so far. */
async function opened(server: TestServer): Promise<Socket> {
  const { hostname, port } = new URL(server.url);
  const socket = connectSocket(Number(port), hostname);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

describe('a body', () => {
  it('may come in chunks, cut anywhere', async () => {
    const server = await startServer();
    const client = await listener(server);
    const body = Buffer.from('{"room":"public.a","event":"付款","data":"😀"}');
    const answer = await withSocket(server.url, async socket => {
      socket.send(notifyHead({ 'Transfer-Encoding': 'chunked' }));
      for (const byte of body) socket.send(chunk(Buffer.of(byte)));
      socket.send(LAST_CHUNK);
      return socket.answer();
    });
    expect(answer).toMatchObject({ status: 200, body: { connections: 1 } });
    expect(await client.next()).toMatchObject({ event: '付款', data: '😀' });
  });

  it('is not waited for where it will be refused', async () => {
    const server = await startServer();
    const cases: [object, number, string][] = [
      [{ ...WRONG, 'Content-Length': '1000' }, 401, 'unauthorized'],
      [{ Authorization: undefined, 'Content-Length': '1000' }, 401, 'unauthorized'],
      [{ 'Content-Type': 'text/plain', 'Content-Length': '1000' }, 415, 'unsupported_media_type'],
      [{ 'Content-Type': undefined, 'Content-Length': '1000' }, 415, 'unsupported_media_type'],
      [{ 'Content-Length': String(8 * MIB + 1) }, 413, 'payload_too_large'],
    ];
    for (const [headers, status, code] of cases) {
      await withSocket(server.url, async socket => {
        socket.send(notifyHead({ ...headers }));
        expectProblem(await socket.answer(), status, code);
      });
    }
  });

  it('in chunks that grows too large is refused while it still comes', async () => {
    const server = await startServer({ MAX_NOTIFICATION_BYTES: '64' });
    const answer = await withSocket(server.url, async socket => {
      socket.send(notifyHead({ 'Transfer-Encoding': 'chunked' }));
      for (let sent = 0; sent <= 64_000; sent += 1000) socket.send(chunk(' '.repeat(1000)));
      return socket.answer();
    });
    expect(expectProblem(answer, 413, 'payload_too_large').detail).toMatch(/\b64000\b/);
  });

  it('that breaks off is forgotten', async () => {
    const server = await startServer();
    const client = await listener(server);
    const half = notifyRequest(BODY).subarray(0, -5);
    await withSocket(server.url, async socket => socket.send(half));
    await withSocket(server.url, async socket => {
      socket.send(Buffer.concat([notifyRequest(BODY), half]));
      expect(await socket.answer()).toMatchObject({ status: 200, body: { connections: 1 } });
      socket.destroy();
    });
    await post(server, BODY).expect(200);
    for (let i = 0; i < 2; i++) expect((await client.next()).type).toBe('notification');
    await client.quiet();
    expect(server.logged.filter(({ level }) => level >= 50)).toEqual([]);
  });
});

describe('a request that comes too slowly', () => {
  it('is 408 request_timeout, in its body or in its headers', async () => {
    const server = await startServer({ REQUEST_TIMEOUT_SECONDS: '1' });
    const begun = [notifyRequest(BODY).subarray(0, -5), notifyHead().slice(0, -20), 'POST /noti'];
    await Promise.all(
      begun.map(bytes =>
        withSocket(server.url, async socket => {
          socket.send(bytes);
          expectProblem(await socket.answer(), 408, 'request_timeout');
          expect(await socket.closed).toBe('');
        }),
      ),
    );
    await post(server, BODY).expect(200);
  });

  it('is not answered twice when it was refused before', async () => {
    const server = await startServer({ REQUEST_TIMEOUT_SECONDS: '1' });
    await withSocket(server.url, async socket => {
      socket.send(notifyHead({ ...WRONG, 'Content-Length': '1000' }));
      expectProblem(await socket.answer(), 401, 'unauthorized');
      expect(await socket.closed).toBe('');
    });
  });
});

describe('Expect: 100-continue', () => {
  it('is answered with 100, and 200 once the body is there', async () => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      socket.send(notifyHead({ ...EXPECT, 'Content-Length': String(BODY.length) }));
      expect(await socket.answer()).toMatchObject({ status: 100 });
      socket.send(BODY);
      expect(await socket.answer()).toMatchObject({ status: 200, body: { duplicate: false } });
    });
  });

  it.each([
    [401, 'unauthorized', { ...WRONG, 'Content-Length': '40' }],
    [413, 'payload_too_large', { 'Content-Length': String(8 * MIB + 1) }],
    [415, 'unsupported_media_type', { 'Content-Type': 'text/plain', 'Content-Length': '40' }],
  ])('is refused at once with %i, without a 100', async (status, code, headers) => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      socket.send(notifyHead({ ...EXPECT, ...headers }));
      expectProblem(await socket.answer(), status, code);
    });
  });

  it('is ignored in HTTP/1.0', async () => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      socket.send(String(notifyRequest(BODY, EXPECT)).replace('HTTP/1.1', 'HTTP/1.0'));
      expect(await socket.answer()).toMatchObject({ status: 200 });
    });
  });
});

describe('a socket', () => {
  it('takes requests one behind the other and answers them in order', async () => {
    const server = await startServer();
    const client = await listener(server);
    const bodies = [1, 2, 3, 4].map(data => `{"room":"public.a","event":"e","data":${data}}`);
    const answers = await withSocket(server.url, async socket => {
      socket.send(Buffer.concat([...bodies, '{}'].map(body => notifyRequest(body))));
      return [
        await socket.answer(),
        await socket.answer(),
        await socket.answer(),
        await socket.answer(),
        await socket.answer(),
      ];
    });
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 400]);
    for (const [index, data] of [1, 2, 3, 4].entries())
      expect(await client.next()).toMatchObject({ data, id: answers[index]?.body.id });
  });

  it('stays usable after a refusal whose body came', async () => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      for (const headers of [WRONG, { 'Content-Type': 'text/plain' }]) {
        socket.send(notifyRequest(BODY, headers));
        expect((await socket.answer()).status).toBeGreaterThan(400);
      }
      socket.send(notifyRequest(BODY));
      expect(await socket.answer()).toMatchObject({ status: 200 });
    });
  });

  it.each([
    ['no HTTP', 'HELLO\r\n\r\n'],
    ['a TLS hello', Buffer.from('16030100c8010000c4', 'hex')],
    ['a broken header', 'POST /notify HTTP/1.1\r\nno colon\r\n\r\n'],
    ['two lengths', notifyHead({ 'Content-Length': '5', 'Content-length': '6' })],
    ['a length and chunks', notifyHead({ 'Content-Length': '5', 'Transfer-Encoding': 'chunked' })],
    ['a broken chunk', `${notifyHead({ 'Transfer-Encoding': 'chunked' })}zz\r\n`],
  ])('that speaks %s is answered with 400 and closed', async (_what, bytes) => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      socket.send(bytes);
      expect((await socket.answer()).status).toBe(400);
      expect(await socket.closed).toBe('');
    });
    await post(server, BODY).expect(200);
  });

  it('with too large a head is told so as a problem', async () => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      socket.send(notifyHead({ 'X-Large': 'x'.repeat(20_000) }));
      const answer = await socket.answer();
      expect(answer.headers['content-type']).toBe('application/problem+json');
      expect(answer.body.detail).toMatch(/headers/);
    });
  });

  it.each([
    ['no Host', { Host: undefined, 'Content-Length': '0' }],
    ['an unknown Expect', { Expect: 'miracles', 'Content-Length': '0' }],
  ])('that sends %s is told so as a problem', async (_what, headers) => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      socket.send(notifyHead(headers));
      expect((await socket.answer()).headers['content-type']).toBe('application/problem+json');
    });
  });

  it('that names its target in absolute form is served', async () => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      const head = String(notifyHead({ 'Content-Length': String(Buffer.byteLength(BODY)) }));
      socket.send(head.replace('POST /notify', 'POST http://anywhere/notify') + BODY);
      expect((await socket.answer()).status).toBe(200);
    });
  });

  it.each([
    ['two Host headers', 'GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
    ['a target that is no URL', 'GET http://[/ HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a fragment', 'GET /health#a HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['an upgrade without Host', 'GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'],
  ])('that sends %s is refused with a problem', async (_what, bytes) => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      socket.send(bytes);
      const answer = await socket.answer();
      expect(answer.headers['content-type']).toBe('application/problem+json');
      expect(answer.body).toMatchObject({ status: 400, code: 'invalid_request' });
    });
  });

  it('that turns to nonsense behind a good request still gets the answer to that', async () => {
    const server = await startServer();
    const client = await listener(server);
    await withSocket(server.url, async socket => {
      socket.send(Buffer.concat([notifyRequest(BODY), Buffer.from('HELLO\r\n\r\n')]));
      expect(await client.next()).toMatchObject({ event: 'e' });
      expect(await socket.answer()).toMatchObject({ status: 200 });
    });
  });

  it('with half a request on it does not keep the server from stopping', async () => {
    const server = await startServer({ REQUEST_TIMEOUT_SECONDS: '1' });
    await withSocket(server.url, async socket => {
      socket.send(notifyRequest(BODY));
      await socket.answer();
      socket.send(notifyRequest(BODY).subarray(0, -5));
      // This is answered, so the first half has arrived.
      await post(server, BODY).expect(200);
      const GRACE_MS = 3000;
      const late = new Promise(resolve => setTimeout(resolve, GRACE_MS, 'late').unref());
      expect(await Promise.race([server.stop().then(() => 'stopped'), late])).toBe('stopped');
    });
  });
});

describe('requests in a pipeline', () => {
  it('are answered one after the other, however many come at once', async () => {
    const server = await startServer();
    const client = await listener(server);
    const count = 300;
    const requests = Array.from({ length: count }, (_, data) =>
      notifyRequest(`{"room":"public.a","event":"e","data":${data}}`),
    );
    await withSocket(server.url, async socket => {
      socket.send(Buffer.concat(requests));
      for (let n = 0; n < count; n++) expect((await socket.answer()).status).toBe(200);
    });
    for (let data = 0; data < count; data++) expect(await client.next()).toMatchObject({ data });
  });

  it('are not read ahead, also where the peer takes its answers', async () => {
    const server = await startServer();
    const one = notifyRequest(JSON.stringify({ room: 'a', event: 'e', data: 'x'.repeat(1800) }));
    const count = 2000;
    let ahead = 0;
    await withSocket(server.url, async socket => {
      const [here] = await serverSockets(async () => {
        socket.send(one);
        await socket.answer();
      });
      // 4 MB: more than the system takes for the server.
      for (let n = 0; n < count; n++) socket.send(one);
      for (let answered = 1; answered <= count; answered++) {
        await socket.answer();
        ahead = Math.max(ahead, (here?.bytesRead ?? Number.NaN) - answered * one.length);
      }
    });
    expect(ahead).toBeLessThan(200_000);
  });

  it('are read on whatever the pieces are that they come in', async () => {
    const server = await startServer();
    const requests = Buffer.concat(
      Array.from({ length: 9 }, (_, n) =>
        notifyRequest(JSON.stringify({ room: 'a', event: 'e', data: 'x'.repeat(n * 1500) })),
      ),
    );
    await withSocket(server.url, async socket => {
      for (let at = 0; at < requests.length; at += 777) socket.send(requests.subarray(at, at + 777));
      for (let n = 0; n < 9; n++) expect((await socket.answer()).status).toBe(200);
    });
  });

  it('get their answers also where the peer ends its side at once', async () => {
    const server = await startServer();
    const { hostname, port } = new URL(server.url);
    const socket = connectSocket({ host: hostname, port: Number(port), allowHalfOpen: true });
    socket.end(Buffer.concat([notifyRequest(BODY), notifyRequest(BODY), notifyRequest(BODY)]));
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk);
    expect(String(Buffer.concat(chunks)).match(/HTTP\/1\.1 200/g)).toHaveLength(3);
  });

  it('that wait for an answer which nobody takes do not make the others wait', async () => {
    const server = await startServer();
    await withSocket(server.url, async socket => {
      socket.send('GET /client.js HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1500));
      await post(server, BODY).expect(200);
    });
  });
});

/** Whether a request on a new connection is answered. */
async function isServed(server: TestServer): Promise<boolean> {
  const { hostname, port } = new URL(server.url);
  const socket = connectSocket(Number(port), hostname);
  socket.on('error', () => undefined);
  socket.write(notifyRequest(BODY));
  const answered = once(socket, 'data').then(() => true);
  const closed = new Promise<boolean>(resolve => socket.on('close', () => resolve(false)));
  const served = await Promise.race([answered.catch(() => false), closed]);
  socket.destroy();
  return served;
}

describe('MAX_HTTP_CONNECTIONS', () => {
  it('lets the one that has waited longest for a request make room; WebSockets are not counted', async () => {
    const server = await startServer({ MAX_HTTP_CONNECTIONS: '10' });
    const client = await listener(server);
    await withSocket(server.url, first =>
      withSocket(server.url, async second => {
        first.send(notifyRequest(BODY));
        await first.answer();
        second.send(notifyRequest(BODY));
        await second.answer();
        const others = await Promise.all(Array.from({ length: 8 }, () => opened(server)));
        await withSocket(server.url, async eleventh => {
          eleventh.send(notifyRequest(BODY));
          expect((await eleventh.answer()).status).toBe(200);
          expect(await first.closed).toBe('');
          second.send(notifyRequest(BODY));
          expect((await second.answer()).status).toBe(200);
        });
        for (const other of others) other.destroy();
      }),
    );
    for (let n = 0; n < 4; n++) expect((await client.next()).type).toBe('notification');
    await client.quiet();
  });

  it('turns away who comes where all are being answered', async () => {
    const server = await startServer({ MAX_HTTP_CONNECTIONS: '10' });
    // The answer shows that the head was read: the request is being answered.
    const heads = notifyHead({ ...EXPECT, 'Content-Length': String(BODY.length) });
    const busy = await Promise.all(Array.from({ length: 10 }, () => opened(server)));
    for (const socket of busy) {
      socket.write(heads);
      await once(socket, 'data');
    }
    expect(await isServed(server)).toBe(false);
    busy[0]?.write(BODY);
    await once(busy[0] as Socket, 'data');
    expect(await isServed(server)).toBe(true);
    for (const socket of busy) socket.destroy();
  });
});
