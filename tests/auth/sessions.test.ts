import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { type SessionAnswer, Sessions, type Visitor } from '../../src/auth/sessions.js';
import { clockOf } from '../support/clock.js';

const NOW = 1_800_000_000;
const LI = {
  cookie: 'PHPSESSID=li',
  origin: 'https://a.example',
  userAgent: 'Firefox',
  address: '203.0.113.7',
};
const CLAIMS = { sub: '42', rooms: ['orders.*'], publish: ['chat.*'], info: { name: 'Li' } };

type Options = Partial<ConstructorParameters<typeof Sessions>[0]>;

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth.php?for=postroom`;
}

/** Sessions of a backend, and all reasons that an operator was told. */
function sessionsAt(url: string, options: Options = {}): { sessions: Sessions; told: string[] } {
  const told: string[] = [];
  const clock = clockOf(() => NOW * 1000);
  const sessions = new Sessions({
    url,
    maxRequests: 4,
    clock,
    failed: reason => told.push(reason),
    ...options,
  });
  ends.push(() => sessions.stop());
  return { sessions, told };
}

async function backend(listener: RequestListener, options: Options = {}) {
  const server = createServer(listener);
  const url = await listen(server);
  ends.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, url, ...sessionsAt(url, options) };
}

/** A backend that writes these bytes for each request, whatever they are. */
async function rawBackend(bytes: string, options: Options & { isOpen?: boolean } = {}) {
  const server = createTcpServer(socket => {
    socket.on('error', () => undefined);
    ends.push(() => socket.destroy());
    socket.once('data', () => (options.isOpen ? socket.write(bytes) : socket.end(bytes)));
  });
  const url = await listen(server);
  ends.push(() => server.close());
  return sessionsAt(url, options);
}

/** A backend that answers only when the test says so. */
async function holdingBackend(options: Options = {}) {
  const held: { request: IncomingMessage; response: ServerResponse }[] = [];
  let notify = (): void => undefined;
  const made = await backend((request, response) => {
    held.push({ request, response });
    notify();
  }, options);
  const come = async (count: number) => {
    while (held.length < count)
      await new Promise<void>(resolve => {
        notify = resolve;
      });
    return held;
  };
  return { ...made, held, come };
}

function json(response: ServerResponse, claims: unknown): void {
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(claims));
}

function reasonIn(answer: SessionAnswer): string {
  return answer.kind === 'failed' ? answer.reason : `no failure but ${answer.kind}`;
}

describe('the backend', () => {
  it('gets what the browser sent, and nothing else of it', async () => {
    let seen: IncomingMessage | undefined;
    const { sessions } = await backend((request, response) => {
      seen = request;
      json(response, CLAIMS);
    });
    await sessions.ask(LI);
    expect(seen).toMatchObject({ method: 'GET', url: '/auth.php?for=postroom' });
    const { host: _host, connection: _connection, ...headers } = seen?.headers ?? {};
    expect(headers).toEqual({
      accept: 'application/json',
      cookie: 'PHPSESSID=li',
      origin: 'https://a.example',
      'user-agent': 'Firefox',
      'x-forwarded-for': '203.0.113.7',
    });
    await sessions.ask({ cookie: 'a=b', address: '::1' });
    expect(Object.keys(seen?.headers ?? {}).sort()).toEqual([
      'accept',
      'connection',
      'cookie',
      'host',
      'x-forwarded-for',
    ]);
  });

  it('says who it is', async () => {
    const { sessions, told } = await backend((_, response) => json(response, { ...CLAIMS, exp: NOW + 60 }));
    const answer = await sessions.ask(LI);
    if (answer.kind !== 'identity') throw new Error(reasonIn(answer));
    expect(answer.identity).toMatchObject({ user: '42', info: '{"name":"Li"}', expires: NOW + 60 });
    expect(answer.identity.rooms.match('orders.1')).toBe(true);
    expect(answer.identity.publish.match('chat.1')).toBe(true);
    expect(told).toEqual([]);
  });

  it('may know a session without a user and without an end', async () => {
    const { sessions } = await backend((_, response) => json(response, { rooms: ['a'] }));
    expect(await sessions.ask(LI)).toMatchObject({
      kind: 'identity',
      identity: { user: undefined, expires: undefined },
    });
  });

  it.each<[number, SessionAnswer]>([
    [204, { kind: 'nobody' }],
    [401, { kind: 'refused' }],
    [403, { kind: 'refused' }],
  ])('answers %d', async (status, expected) => {
    const page = status === 204 ? '' : '<!doctype html>'.padEnd(100_000);
    const { sessions, told } = await backend((_, response) => response.writeHead(status).end(page));
    expect(await sessions.ask(LI)).toEqual(expected);
    expect(told).toEqual([]);
  });

  it.each<[number, RegExp]>([
    [301, /301, a redirect.*answer 401 or 204/],
    [302, /302, a redirect, probably to the login page.*answer 401 or 204/],
    [307, /redirect/],
    [404, /404.*address right/],
    [500, /500.*log/],
    [503, /503/],
    [201, /201; it must answer 200 .* 204 .* 401 or 403/],
    [418, /418; it must answer/],
  ])('that answers %d has failed', async (status, reason) => {
    let requests = 0;
    const { sessions, told } = await backend((_, response) => {
      requests++;
      response.writeHead(status, { Location: '/login.php?PHPSESSID=li' }).end('Please log in');
    });
    const answer = await sessions.ask(LI);
    expect(reasonIn(answer)).toMatch(reason);
    expect(told).toEqual([reasonIn(answer)]);
    expect(told[0]).not.toContain('PHPSESSID');
    expect(requests).toBe(1);
  });

  it.each<[string, string, RegExp]>([
    ['a page', '<!doctype html><title>secret</title>', /no JSON.*not a page/],
    [
      'a warning before the JSON',
      '<br />Warning: secret{"sub":"1"}',
      /nothing may be printed before or after/,
    ],
    ['nothing', '', /is empty/],
    ['an empty array of PHP', '[]', /\[\].*PHP.*204/],
    ['a list', '["secret"]', /no JSON object/],
    ['null', 'null', /no JSON object/],
    ['a wrong claim', '{"sub":"1","rooms":"secret"}', /claim rooms must be a list/],
    ['milliseconds', `{"exp":${NOW * 1000}}`, /exp is in milliseconds/],
    ['a session that has ended', `{"sub":"1","exp":${NOW - 31}}`, /exp has passed.*401 or 204/],
    ['too much', JSON.stringify({ secret: 'x'.repeat(64 * 1024) }), /more than 65536 bytes/],
  ])('that answers 200 with %s has failed', async (_what, body, reason) => {
    const { sessions, told } = await backend((_, response) => response.end(body));
    const answer = await sessions.ask(LI);
    expect(reasonIn(answer)).toMatch(reason);
    expect(reasonIn(answer)).not.toContain('secret');
    expect(told).toHaveLength(1);
  });

  it('may have a clock that differs, a byte order mark, and 64 KiB', async () => {
    const start = `\ufeff{"sub":"1","exp":${NOW - 29}`;
    const body = `${start}${' '.repeat(64 * 1024 - Buffer.byteLength(start) - 1)}}`;
    const { sessions } = await backend((_, response) => response.end(body));
    expect(await sessions.ask(LI)).toMatchObject({ kind: 'identity' });
  });

  it('must answer UTF-8', async () => {
    const { sessions } = await backend((_, response) =>
      response.end(Buffer.from('{"sub":"\xe4"}', 'latin1')),
    );
    expect(reasonIn(await sessions.ask(LI))).toMatch(/UTF-8/);
  });

  it('is not read further than 64 KiB', async () => {
    const { sessions } = await backend((_, response) => {
      const more = () => {
        while (!response.destroyed && response.write('x'.repeat(16 * 1024)));
      };
      response.on('drain', more);
      more();
    });
    expect(reasonIn(await sessions.ask(LI))).toMatch(/more than 65536 bytes/);
  });
});

describe('a connection to the backend', () => {
  it('is used again', async () => {
    let connections = 0;
    const { server, sessions } = await backend((_, response) => json(response, CLAIMS), { maxRequests: 1 });
    server.on('connection', () => connections++);
    for (let i = 0; i < 5; i++) await sessions.ask(LI);
    await Promise.all(Array.from({ length: 20 }, (_, i) => sessions.ask({ ...LI, cookie: `a=${i}` })));
    expect(connections).toBe(1);
  });

  it('that the backend closes when it is used again is no failure', async () => {
    let requests = 0;
    const { sessions, told } = await backend((request, response) => {
      if (++requests === 2) request.socket.destroy();
      else json(response, CLAIMS);
    });
    expect(await sessions.ask(LI)).toMatchObject({ kind: 'identity' });
    expect(await sessions.ask(LI)).toMatchObject({ kind: 'identity' });
    expect(requests).toBe(3);
    expect(told).toEqual([]);
  });

  it('that the backend always closes is a failure', async () => {
    let requests = 0;
    const { sessions } = await backend((request, response) => {
      if (++requests > 1) request.socket.destroy();
      else json(response, CLAIMS);
    });
    await sessions.ask(LI);
    expect(reasonIn(await sessions.ask(LI))).toMatch(/cannot be asked: socket hang up/);
    expect(requests).toBe(3);
  });

  it('that is refused is a failure', async () => {
    const server = createTcpServer();
    const url = await listen(server);
    server.close();
    await once(server, 'close');
    const { sessions, told } = sessionsAt(url);
    expect(reasonIn(await sessions.ask(LI))).toMatch(/cannot be asked: .*ECONNREFUSED/);
    const byName = sessionsAt(url.replace('127.0.0.1', 'localhost'));
    expect(reasonIn(await byName.sessions.ask(LI))).toMatch(/cannot be asked: .*ECONNREFUSED/);
    expect(told).toHaveLength(1);
  });

  it.each<[string, string, SessionAnswer['kind']]>([
    ['HTTP/1.0, whose end is the end of the body', 'HTTP/1.0 200 OK\r\n\r\n{"sub":"1"}', 'identity'],
    ['a long body of this kind', `HTTP/1.0 200 OK\r\n\r\n{"sub":"1"}${' '.repeat(60_000)}`, 'identity'],
    ['no HTTP', 'hello\r\n\r\n', 'failed'],
    ['half an answer', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"sub":"1"}', 'failed'],
    ['half a page for 401', 'HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\nhalf', 'refused'],
    ['nothing', '', 'failed'],
    ['another protocol', 'HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n', 'failed'],
    ['large headers', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`, 'failed'],
  ])('that brings %s', async (_what, bytes, kind) => {
    const { sessions } = await rawBackend(bytes);
    expect(await sessions.ask(LI)).toMatchObject({ kind });
  });

  it.each<[string, string, SessionAnswer['kind']]>([
    ['nothing', '', 'failed'],
    ['half of its headers', 'HTTP/1.1 200 OK\r\nContent-', 'failed'],
    ['half of its body', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"sub":', 'failed'],
    ['half of a page for 401', 'HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\nhalf', 'refused'],
    ['1xx for ever', 'HTTP/1.1 102 Wait\r\n\r\n'.repeat(3), 'failed'],
  ])('that brings %s and then hangs has an end', async (_what, bytes, kind) => {
    const { sessions } = await rawBackend(bytes, { isOpen: true, timeoutMs: 50 });
    const answer = await sessions.ask(LI);
    expect(answer.kind).toBe(kind);
    if (kind === 'failed') expect(reasonIn(answer)).toBe('AUTH_URL did not answer within 0.05 s.');
    expect(sessions.running).toBe(0);
  });
});

describe('a cookie', () => {
  it('that is empty asks nobody', async () => {
    const { sessions } = await backend(() => expect('nobody').toBe('asked'));
    expect(await sessions.ask({ cookie: '', address: '::1' })).toEqual({ kind: 'nobody' });
  });

  it('arrives byte by byte as the browser sent it', async () => {
    const bytes = Buffer.concat([Buffer.from('name=Jürgen 李 '), Buffer.from([0xff, 0x80, 0xa0])]);
    let seen: string | undefined;
    const { sessions } = await backend((request, response) => {
      seen = request.headers.cookie;
      json(response, {});
    });
    const front = createServer((request, response) => {
      void sessions
        .ask({ cookie: request.headers.cookie ?? '', address: '::1' })
        .then(answer => response.end(answer.kind));
    });
    const { port } = new URL(await listen(front));
    ends.push(() => front.close());
    const socket = connect(Number(port), '127.0.0.1');
    ends.push(() => socket.destroy());
    socket.write(
      Buffer.concat([
        Buffer.from('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: '),
        bytes,
        Buffer.from('\r\n\r\n'),
      ]),
    );
    const [answer] = await once(socket, 'data');
    expect(String(answer)).toMatch(/identity/);
    expect(Buffer.from(seen ?? '', 'latin1')).toEqual(bytes);
  });

  it.each(['a=李', 'a=b\r\nX: y', 'a=\0'])('that no header can have is a failure: %j', async cookie => {
    const { sessions, told } = await backend(() => expect('nobody').toBe('asked'));
    const answer = await sessions.ask({ ...LI, cookie });
    expect(reasonIn(answer)).toMatch(/headers cannot be sent/);
    expect(told.join()).not.toContain(cookie);
    expect(sessions.running).toBe(0);
  });
});

describe('many visitors', () => {
  it('10,000 with 100 cookies ask once for each, and never more than so many at a time', async () => {
    const asked = new Map<string, number>();
    let most = 0;
    let now = 0;
    let start = (): void => undefined;
    const started = new Promise<void>(resolve => {
      start = resolve;
    });
    const { sessions } = await backend(
      async (request, response) => {
        const cookie = request.headers.cookie ?? '';
        asked.set(cookie, (asked.get(cookie) ?? 0) + 1);
        most = Math.max(most, ++now);
        if (now === 8) start();
        // All of the first eight are there before one is answered.
        await started;
        await new Promise(resolve => setImmediate(resolve));
        now--;
        json(response, { sub: cookie.slice(2) });
      },
      { maxRequests: 8 },
    );
    const answers = Array.from({ length: 10_000 }, (_, i) => sessions.ask({ ...LI, cookie: `s=${i % 100}` }));
    expect([sessions.running, sessions.waiting]).toEqual([8, 92]);
    for (const [i, answer] of (await Promise.all(answers)).entries())
      expect(answer).toMatchObject({ kind: 'identity', identity: { user: String(i % 100) } });
    expect(most).toBe(8);
    expect(asked.size).toBe(100);
    expect(new Set(asked.values())).toEqual(new Set([1]));
    expect([sessions.running, sessions.waiting]).toEqual([0, 0]);
  });

  it('wait in order, and are asked again when they have been answered', async () => {
    const { sessions, come } = await holdingBackend({ maxRequests: 1 });
    const answers = ['a', 'b', 'c'].map(cookie => sessions.ask({ ...LI, cookie }));
    for (let i = 0; i < 3; i++) {
      const { request, response } = (await come(i + 1))[i] ?? {};
      expect(request?.headers.cookie).toBe('abc'[i]);
      if (response) json(response, {});
      await answers[i];
    }
    void sessions.ask({ ...LI, cookie: 'a' });
    expect((await come(4))[3]?.request.headers.cookie).toBe('a');
  });

  it.each<[string, Partial<Visitor>]>([
    ['cookie', { cookie: 'PHPSESSID=bo' }],
    ['origin', { origin: 'https://b.example' }],
    ['origin, which is missing', { origin: undefined }],
    ['user agent', { userAgent: 'Safari' }],
    ['address', { address: '203.0.113.8' }],
  ])('do not share an answer if they differ in their %s', async (_what, other) => {
    const { sessions, come } = await holdingBackend();
    void sessions.ask(LI);
    void sessions.ask({ ...LI });
    void sessions.ask({ ...LI, ...other });
    await come(2);
    expect(sessions.running).toBe(2);
  });

  it('do not wait for ever', async () => {
    const { sessions, told, come } = await holdingBackend({ maxRequests: 1, waitMs: 50 });
    const running = sessions.ask(LI);
    const waiting = sessions.ask({ ...LI, cookie: 'b' });
    expect(reasonIn(await waiting)).toMatch(/waited 0\.05 s .*1 at a time \(AUTH_MAX_REQUESTS\)/);
    expect(told).toHaveLength(1);
    for (const { response } of await come(1)) json(response, {});
    expect(await running).toMatchObject({ kind: 'identity' });
  });
});

describe('a client that goes away', () => {
  it('while it waits is not asked for', async () => {
    const { sessions, held, come, told } = await holdingBackend({ maxRequests: 1 });
    const gone = new AbortController();
    const first = sessions.ask(LI);
    const [left, also, last] = [
      sessions.ask({ ...LI, cookie: 'b' }, gone.signal),
      sessions.ask({ ...LI, cookie: 'b' }, gone.signal),
      sessions.ask({ ...LI, cookie: 'c' }),
    ];
    gone.abort();
    for (const answer of [await left, await also]) expect(reasonIn(answer)).toMatch(/went away/);
    expect(sessions.waiting).toBe(1);
    for (const { response } of await come(1)) json(response, {});
    await first;
    json((await come(2))[1]?.response as ServerResponse, {});
    expect(await last).toMatchObject({ kind: 'identity' });
    expect(held.map(({ request }) => request.headers.cookie)).toEqual([LI.cookie, 'c']);
    expect(told).toEqual([]);
  });

  it('leaves the question to others', async () => {
    const { sessions, come } = await holdingBackend({ maxRequests: 1 });
    const gone = new AbortController();
    void sessions.ask({ ...LI, cookie: 'a' });
    const left = sessions.ask(LI, gone.signal);
    const stays = sessions.ask(LI, new AbortController().signal);
    gone.abort();
    expect(reasonIn(await left)).toMatch(/went away/);
    json((await come(1))[0]?.response as ServerResponse, {});
    json((await come(2))[1]?.response as ServerResponse, {});
    expect(await stays).toMatchObject({ kind: 'identity' });
  });

  it('while it is asked for still takes its place: the backend works on', async () => {
    const { sessions, come } = await holdingBackend({ maxRequests: 1 });
    const gone = new AbortController();
    const left = sessions.ask(LI, gone.signal);
    await come(1);
    gone.abort();
    expect(reasonIn(await left)).toMatch(/went away/);
    void sessions.ask({ ...LI, cookie: 'b' });
    expect([sessions.running, sessions.waiting]).toEqual([1, 1]);
    json((await come(1))[0]?.response as ServerResponse, {});
    await come(2);
  });

  it('before it asks, asks nobody', async () => {
    const { sessions } = await holdingBackend();
    expect(reasonIn(await sessions.ask(LI, AbortSignal.abort()))).toMatch(/went away/);
    expect(sessions.running).toBe(0);
  });

  it('again and again leaves nothing behind', async () => {
    const { sessions, come } = await holdingBackend({ maxRequests: 1 });
    const first = sessions.ask(LI);
    for (let i = 0; i < 1000; i++) {
      const gone = new AbortController();
      void sessions.ask({ ...LI, cookie: `a=${i}` }, gone.signal);
      gone.abort();
    }
    const last = sessions.ask({ ...LI, cookie: 'last' });
    expect(sessions.waiting).toBe(1);
    json((await come(1))[0]?.response as ServerResponse, {});
    json((await come(2))[1]?.response as ServerResponse, {});
    expect(await first).toMatchObject({ kind: 'identity' });
    expect(await last).toMatchObject({ kind: 'identity' });
  });
});

describe('an outage', () => {
  it('is told once, and not more than once in ten seconds', async () => {
    let elapsed = 0;
    let status = 500;
    const { sessions, told } = await backend((_, response) => response.writeHead(status).end(), {
      clock: clockOf(
        () => NOW * 1000,
        () => elapsed,
      ),
    });
    const askWith = async (next: number) => {
      status = next;
      await sessions.ask(LI);
    };
    for (const next of [500, 500, 204, 500, 204]) await askWith(next);
    expect(told).toHaveLength(1);
    elapsed = 10_000;
    for (const next of [204, 502, 502, 204]) await askWith(next);
    expect(told).toEqual([expect.stringContaining('500'), expect.stringContaining('502')]);
    elapsed = 15_000;
    await askWith(503);
    elapsed = 20_000;
    await askWith(503);
    expect(told[2]).toContain('503');
    expect(sessions.failures).toBe(7);
  });
});

describe('a stop', () => {
  it('ends what runs, what waits and what comes later', async () => {
    const { sessions, come, told } = await holdingBackend({ maxRequests: 1 });
    const answers = ['a', 'b', 'c'].map(cookie => sessions.ask({ ...LI, cookie }));
    const [held] = await come(1);
    const closed = once(held?.response as ServerResponse, 'close');
    sessions.stop();
    sessions.stop();
    answers.push(sessions.ask(LI));
    for (const answer of await Promise.all(answers)) expect(reasonIn(answer)).toMatch(/is stopping/);
    await closed;
    expect([sessions.running, sessions.waiting]).toEqual([0, 0]);
    expect(told).toEqual([]);
  });
});
