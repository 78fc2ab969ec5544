import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import jwt from 'jsonwebtoken';
import pino from 'pino';
import { RemoteKeys } from '../../src/auth/jwks.js';
import { TokenError, Tokens } from '../../src/auth/tokens.js';

const NOW = 1_763_856_000;
const SECRET = 'the-secret-of-32-bytes-or-more-it-has';

const rsa = (bits = 2048) => generateKeyPairSync('rsa', { modulusLength: bits });
const ec = (namedCurve = 'P-256') => generateKeyPairSync('ec', { namedCurve });
const [RSA, NEW_RSA, SMALL_RSA, EC] = [rsa(), rsa(), rsa(1024), ec()];

interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

function jwk({ publicKey }: Pair, members: object = {}): object {
  return { ...publicKey.export({ format: 'jwk' }), ...members };
}

function sign({ privateKey }: Pair, keyid?: string, algorithm: jwt.Algorithm = 'RS256'): string {
  const claims = { sub: '42', iat: NOW, exp: NOW + 86_400 };
  return jwt.sign(claims, privateKey, { algorithm, ...(keyid !== undefined && { keyid }) });
}

/** A token of this header, signed with HS256 whatever the header says. */
function signRaw(header: object, secret: string): string {
  const text = [header, { sub: 'admin', exp: NOW + 60 }]
    .map(part => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** Time that stands still, and knows when a load has ended: then the next one is planned. */
class TestTime {
  now = NOW * 1000;
  planned: { milliseconds: number; run: () => void } | undefined;
  #ended = () => {};

  readonly after = (milliseconds: number, run: () => void) => {
    const plan = { milliseconds, run };
    this.planned = plan;
    this.#ended();
    return () => {
      if (this.planned === plan) this.planned = undefined;
    };
  };

  /** Resolves when a load ends. */
  loaded(): Promise<void> {
    return new Promise(resolve => {
      this.#ended = resolve;
    });
  }

  /** Lets the planned refresh happen. */
  async refresh(): Promise<void> {
    const plan = this.planned;
    if (plan === undefined) throw new Error('no refresh is planned');
    this.planned = undefined;
    this.now += plan.milliseconds;
    const loaded = this.loaded();
    plan.run();
    await loaded;
  }
}

/** Publishes keys. */
class Endpoint {
  readonly #server: Server = createServer((request, response) => {
    this.requests.push(String(request.url));
    this.answer(request, response);
  });
  readonly requests: string[] = [];
  answer: RequestListener = (_request, response) => response.end('{"keys":[]}');
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}/jwks.json`;
  }

  async up(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async down(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  publish(...keys: object[]): void {
    this.answers(JSON.stringify({ keys }));
  }

  answers(body: string, status = 200, headers = {}): void {
    this.answer = (_request, response) => response.writeHead(status, headers).end(body);
  }
}

let endpoint: Endpoint;
let time: TestTime;
let logged: Record<string, unknown>[];
let keys: RemoteKeys;

/** Tokens that are checked with the published keys. */
function tokensOf(options: { secrets?: string[]; publicKey?: string; timeoutMs?: number } = {}): Tokens {
  const { secrets = [], publicKey, timeoutMs = 60_000 } = options;
  const now = () => time.now;
  const log = pino({ level: 'info' }, { write: line => logged.push(JSON.parse(line)) });
  keys = new RemoteKeys({ url: endpoint.url, now, after: time.after, log, timeoutMs });
  return new Tokens(secrets, publicKey, now, undefined, keys);
}

async function started(options?: Parameters<typeof tokensOf>[0]): Promise<Tokens> {
  const tokens = tokensOf(options);
  const loaded = time.loaded();
  await keys.start();
  await loaded;
  return tokens;
}

/** What a caller does: `42`, or the fault and the sentence. */
async function check(tokens: Tokens, token: string): Promise<string> {
  const wait = tokens.prepare(token);
  if (wait !== undefined) await wait;
  return checkNow(tokens, token);
}

function checkNow(tokens: Tokens, token: string): string {
  try {
    return String(tokens.verify(token).user);
  } catch (error) {
    if (!(error instanceof TokenError)) throw error;
    return `${error.fault}: ${error.message}`;
  }
}

beforeEach(async () => {
  [endpoint, time, logged] = [new Endpoint(), new TestTime(), []];
  await endpoint.up();
});

afterEach(async () => {
  keys.stop();
  await endpoint.down();
});

describe('a token of a published key', () => {
  it.each([
    ['RS256', RSA],
    ['PS512', RSA],
    ['ES256', EC],
    ['ES384', ec('P-384')],
    ['ES512', ec('P-521')],
  ] as const)('is taken, with nothing to wait for: %s', async (algorithm, pair) => {
    endpoint.publish(jwk(NEW_RSA, { kid: 'other' }), jwk(pair, { kid: 'one', use: 'sig' }));
    const tokens = await started();
    const token = sign(pair, 'one', algorithm);
    expect(tokens.prepare(token)).toBeUndefined();
    expect(checkNow(tokens, token)).toBe('42');
    expect(endpoint.requests).toEqual(['/jwks.json']);
    expect(logged).toEqual([]);
  });

  it('must be signed by the key of its kid', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }), jwk(NEW_RSA, { kid: 'two' }));
    const tokens = await started();
    expect(await check(tokens, sign(RSA, 'two'))).toMatch(/^invalid: .*signature.*JWT_JWKS_URL/);
  });

  it('must be of the kind of the key', async () => {
    endpoint.publish(jwk(RSA, { kid: 'rsa' }), jwk(EC, { kid: 'ec' }));
    const tokens = await started();
    for (const token of [sign(RSA, 'ec'), sign(EC, 'rsa', 'ES256')])
      expect(await check(tokens, token)).toMatch(
        /^invalid: .*no key at JWT_JWKS_URL is for its alg and its kid/,
      );
    expect(endpoint.requests).toHaveLength(1);
  });

  it('must have the alg of the key, if the key has one', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one', alg: 'PS256' }));
    const tokens = await started();
    expect(await check(tokens, sign(RSA, 'one', 'PS256'))).toBe('42');
    expect(await check(tokens, sign(RSA, 'one', 'RS256'))).toMatch(/^invalid: .*its alg/);
  });

  it('has expired when it has expired', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }));
    const tokens = await started();
    time.now += 2 * 86_400_000;
    expect(await check(tokens, sign(RSA, 'one'))).toMatch(/^expired/);
  });
});

describe('a token without kid', () => {
  it('is taken if one key is for its algorithm', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }), jwk(EC));
    const tokens = await started();
    for (const token of [sign(RSA), sign(EC, undefined, 'ES256')]) {
      expect(tokens.prepare(token)).toBeUndefined();
      expect(checkNow(tokens, token)).toBe('42');
    }
    expect(await check(tokens, sign(ec('P-384'), undefined, 'ES384'))).toMatch(/^invalid: .*no key.*its alg/);
  });

  it('is refused if several are, as is a kid of several', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }), jwk(NEW_RSA, { kid: 'one' }));
    const tokens = await started();
    for (const token of [sign(RSA), sign(NEW_RSA, 'one')])
      expect(await check(tokens, token)).toMatch(/^invalid: .*several keys/);
  });
});

describe('an unknown kid', () => {
  it('is looked up, once for all that wait', async () => {
    endpoint.publish(jwk(RSA, { kid: 'old' }));
    const tokens = await started();
    endpoint.publish(jwk(NEW_RSA, { kid: 'new' }));
    const token = sign(NEW_RSA, 'new');
    expect(await Promise.all([1, 2, 3].map(() => check(tokens, token)))).toEqual(['42', '42', '42']);
    expect(endpoint.requests).toHaveLength(2);
    // What is no longer published is no longer taken.
    expect(await check(tokens, sign(RSA, 'old'))).toMatch(/^invalid: .*kid is not among the keys/);
  });

  it('is looked up every 10 seconds at most', async () => {
    endpoint.publish(jwk(RSA, { kid: 'old' }));
    const tokens = await started();
    for (let n = 0; n < 100; n++) {
      expect(await check(tokens, sign(EC, `x${n}`, 'ES256'))).toMatch(
        /^invalid: .*kid is not among the keys/,
      );
      time.now += 99;
    }
    expect(endpoint.requests).toHaveLength(2);
    time.now += 100;
    await check(tokens, sign(EC, 'x', 'ES256'));
    expect(endpoint.requests).toHaveLength(3);
    time.now -= 3_600_000;
    await check(tokens, sign(EC, 'x', 'ES256'));
    expect(endpoint.requests).toHaveLength(4);
  });

  it('of a token that no public key can check is not looked up', async () => {
    endpoint.publish(jwk(RSA, { kid: 'old' }));
    const tokens = await started({ secrets: [SECRET] });
    for (const header of [
      { alg: 'HS256', kid: 'x' },
      { alg: 'none', kid: 'x' },
      { alg: 'RS256', kid: 7 },
      {},
    ])
      expect(tokens.prepare(signRaw(header, SECRET))).toBeUndefined();
    for (const token of ['', '..', 'x', 'e30.e30.', '<html>', 'x'.repeat(1024 * 1024)])
      expect(tokens.prepare(token)).toBeUndefined();
  });
});

describe('an endpoint that is down', () => {
  it('at the start makes such tokens unavailable, until it is up', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }));
    await endpoint.down();
    const tokens = await started({ secrets: [SECRET] });
    for (const token of [sign(RSA, 'one'), sign(RSA)])
      expect(await check(tokens, token)).toMatch(/^unavailable: .*JWT_JWKS_URL/);
    expect(await check(tokens, signRaw({ alg: 'HS256' }, SECRET))).toBe('admin');
    await endpoint.up();
    expect(checkNow(tokens, sign(RSA, 'one'))).toMatch(/^unavailable/);
    time.now += 10_000;
    expect(await check(tokens, sign(RSA, 'one'))).toBe('42');
    expect(logged.map(line => line.msg)).toEqual([
      expect.stringMatching(/cannot be loaded/),
      expect.stringMatching(/can be loaded again/),
    ]);
  });

  it('at the start is tried again in the background', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }));
    await endpoint.down();
    const tokens = await started();
    await endpoint.up();
    expect(time.planned?.milliseconds).toBe(60_000);
    await time.refresh();
    expect(tokens.prepare(sign(RSA, 'one'))).toBeUndefined();
    expect(checkNow(tokens, sign(RSA, 'one'))).toBe('42');
    expect(time.planned?.milliseconds).toBe(600_000);
  });

  it('later takes no key away, and is told once', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }));
    const tokens = await started();
    await endpoint.down();
    for (let n = 0; n < 100; n++) await time.refresh();
    expect(checkNow(tokens, sign(RSA, 'one'))).toBe('42');
    expect(await check(tokens, sign(RSA, 'two'))).toMatch(/^invalid: .*kid is not among the keys/);
    expect(logged).toHaveLength(1);
  });
});

describe('a bad answer', () => {
  const one = jwk(RSA, { kid: 'one' });

  it.each<[string, RequestListener]>([
    ['HTML', (_, response) => response.end('<html>login</html>')],
    ['another JSON', (_, response) => response.end('{"keys":{}}')],
    ['a status', (_, response) => response.writeHead(500).end(JSON.stringify({ keys: [] }))],
    ['a long one', (_, response) => response.end(JSON.stringify({ keys: [], x: 'x'.repeat(256 * 1024) }))],
    ['too many keys', (_, response) => response.end(JSON.stringify({ keys: Array(101).fill(one) }))],
    ['none', request => request.socket.destroy()],
    ['none, for ever', () => {}],
    ['half of one, for ever', (_, response) => response.write('{"keys":')],
  ])('changes nothing: %s', async (_what, answer) => {
    endpoint.publish(one);
    const tokens = await started({ timeoutMs: 500 });
    endpoint.answer = answer;
    await time.refresh();
    expect(checkNow(tokens, sign(RSA, 'one'))).toBe('42');
    expect(await check(tokens, sign(RSA, 'two'))).toMatch(/^invalid: .*kid is not among the keys/);
    expect(logged).toHaveLength(1);
    expect(logged[0]?.msg).toMatch(/cannot be loaded/);
  });

  it('is a redirect: it is not followed', async () => {
    endpoint.answer = (request, response) =>
      request.url === '/other'
        ? response.end(JSON.stringify({ keys: [one] }))
        : response.writeHead(302, { Location: '/other' }).end();
    const tokens = await started();
    expect(await check(tokens, sign(RSA, 'one'))).toMatch(/^unavailable/);
    expect(endpoint.requests).not.toContain('/other');
    expect(JSON.stringify(logged)).toMatch(/status 302/);
  });

  it('is not waited for when all is stopped', async () => {
    endpoint.answer = () => {};
    const tokens = tokensOf();
    await keys.start();
    const wait = tokens.prepare(sign(RSA, 'one'));
    keys.stop();
    await wait;
    expect(tokens.prepare(sign(RSA, 'one'))).toBeUndefined();
    expect(time.planned).toBeUndefined();
    expect(logged).toEqual([]);
  });
});

describe('a published key', () => {
  it.each<[string, object]>([
    ['a secret', { kty: 'oct', k: Buffer.from(SECRET).toString('base64url'), kid: 'x', alg: 'HS256' }],
    ['on Ed25519', jwk(generateKeyPairSync('ed25519'), { kid: 'x' })],
    ['on secp256k1', jwk(ec('secp256k1'), { kid: 'x' })],
    ['of 1024 bits', jwk(SMALL_RSA, { kid: 'x' })],
    ['to encrypt with', jwk(NEW_RSA, { kid: 'x', use: 'enc' })],
    ['of an alg to encrypt with', jwk(NEW_RSA, { kid: 'x', alg: 'RSA-OAEP' })],
    ['of an alg of secrets', jwk(NEW_RSA, { kid: 'x', alg: 'HS256' })],
    ['of other operations', jwk(NEW_RSA, { kid: 'x', key_ops: ['encrypt'] })],
    ['that is private', { ...NEW_RSA.privateKey.export({ format: 'jwk' }), kid: 'x' }],
    ['that is broken', { kty: 'RSA', n: 7, e: null, kid: 'x' }],
  ])('is not used, and told once: %s', async (_what, unusable) => {
    endpoint.publish(jwk(RSA, { kid: 'one' }), unusable);
    const tokens = await started();
    await time.refresh();
    expect(await check(tokens, sign(RSA, 'one'))).toBe('42');
    expect(await check(tokens, sign(NEW_RSA, 'x'))).toMatch(/^invalid: .*kid is not among the keys/);
    expect(await check(tokens, signRaw({ alg: 'HS256', kid: 'x' }, SECRET))).toMatch(/^invalid/);
    expect(logged).toEqual([expect.objectContaining({ unusable: [expect.stringMatching(/^x: /)] })]);
  });

  it('must be there: a set without any is told', async () => {
    const tokens = await started();
    expect(await check(tokens, sign(RSA, 'one'))).toMatch(/^unavailable/);
    expect(logged.map(line => line.msg)).toEqual(['no key at JWT_JWKS_URL can check tokens']);
  });

  it('can be withdrawn, also the last', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }));
    const tokens = await started();
    endpoint.publish();
    await time.refresh();
    expect(await check(tokens, sign(RSA, 'one'))).toMatch(/^invalid: .*kid is not among the keys/);
    expect(await check(tokens, sign(RSA))).toMatch(/^invalid: .*no key .* is for its alg/);
  });
});

describe('a forged token', () => {
  it.each([{}, { secrets: [SECRET] }])(
    'is refused: signed with the text of a public key (%j)',
    async options => {
      const published = jwk(RSA, { kid: 'one' });
      endpoint.publish(published);
      const tokens = await started(options);
      const pem = String(RSA.publicKey.export({ type: 'spki', format: 'pem' }));
      for (const text of [pem, pem.trim(), JSON.stringify(published)])
        for (const alg of ['HS256', 'RS256'])
          expect(await check(tokens, signRaw({ alg, kid: 'one' }, text))).toMatch(/^invalid/);
    },
  );

  it('is refused: not signed', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }));
    const tokens = await started();
    const none = jwt.sign({ exp: NOW + 60 }, null, { algorithm: 'none', keyid: 'one' });
    const [header, payload] = sign(RSA, 'one').split('.');
    for (const token of [none, `${header}.${payload}.`, `${header}.${payload}`, ''])
      expect(await check(tokens, token)).toMatch(/^invalid/);
  });
});

describe('local keys', () => {
  const secret = signRaw({ alg: 'HS256', kid: 'x' }, SECRET);
  const publicKey = String(NEW_RSA.publicKey.export({ type: 'spki', format: 'pem' }));

  it('hold beside published ones', async () => {
    endpoint.publish(jwk(RSA, { kid: 'one' }));
    const tokens = await started({ secrets: [SECRET], publicKey });
    expect(checkNow(tokens, secret)).toBe('admin');
    expect(checkNow(tokens, sign(RSA, 'one'))).toBe('42');
    expect(checkNow(tokens, sign(NEW_RSA, 'local'))).toBe('42');
  });

  it('do not wait for the endpoint', async () => {
    endpoint.answer = () => {};
    const tokens = tokensOf({ secrets: [SECRET], publicKey });
    await keys.start();
    for (const token of [secret, sign(NEW_RSA, 'local'), sign(NEW_RSA)]) {
      expect(tokens.prepare(token)).toBeUndefined();
      expect(checkNow(tokens, token)).toMatch(/^(42|admin)$/);
    }
    expect(checkNow(tokens, sign(RSA, 'one'))).toMatch(/^unavailable/);
  });

  it('alone have nothing to prepare', () => {
    tokensOf();
    expect(new Tokens([SECRET], publicKey, () => time.now).prepare(sign(RSA, 'one'))).toBeUndefined();
  });
});
