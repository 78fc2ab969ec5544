import { createHmac, generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import jwt from 'jsonwebtoken';
import type { Identity } from '../../src/auth/identity.js';
import { TokenError, Tokens } from '../../src/auth/tokens.js';

const SECRET = 'the-secret-of-32-bytes-or-more-it-has';
const PREVIOUS = 'the-previous-secret-of-32-bytes-or-more';
const NOW = 1_763_856_000;
const EXP = NOW + 3600;

let clock = NOW * 1000;
const now = () => clock;

function keyPair(kind: 'rsa' | 'P-256' | 'P-384' | 'P-521') {
  const { publicKey, privateKey } =
    kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: kind });
  return {
    publicKey: String(publicKey.export({ type: 'spki', format: 'pem' })),
    privateKey: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
  };
}

const RSA = keyPair('rsa');
const symmetric = new Tokens([SECRET], undefined, now);

function sign(claims: object, options: jwt.SignOptions = {}, secret: jwt.Secret = SECRET): string {
  return jwt.sign({ exp: EXP, iat: NOW, ...claims }, secret, options);
}

/** A token of these parts, signed with HS256 whatever its header says. */
function signRaw(header: object | string, payload: object | string, secret = SECRET): string {
  const text = [header, payload]
    .map(part => (typeof part === 'string' ? part : JSON.stringify(part)))
    .map(part => Buffer.from(part).toString('base64url'))
    .join('.');
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

function refusal(tokens: Tokens, token: string): TokenError {
  let identity: Identity;
  try {
    identity = tokens.verify(token);
  } catch (error) {
    if (!(error instanceof TokenError)) throw error;
    if (token !== '') expect(error.message).not.toContain(token);
    return error;
  }
  throw new Error(`it was taken: ${JSON.stringify(identity)}`);
}

function atSecond(second: number): void {
  clock = second * 1000;
}

describe('a token', () => {
  it('names user, rooms and end', () => {
    atSecond(NOW);
    const rooms = ['orders', 'a.*'];
    const identity = symmetric.verify(sign({ sub: '42', rooms }));
    expect(identity).toMatchObject({ user: '42', expires: EXP });
    expect(['orders', 'a.b', 'a', 'b'].map(room => identity.rooms.match(room))).toEqual([
      true,
      true,
      false,
      false,
    ]);
    const nobody = symmetric.verify(sign({}));
    expect(nobody).toMatchObject({ user: undefined, expires: EXP });
    expect(nobody.rooms.match('orders')).toBe(false);
  });

  it.each([
    ['a number', 42, '42'],
    ['zero', 0, '0'],
    ['the greatest safe integer', Number.MAX_SAFE_INTEGER, '9007199254740991'],
    ['200 characters', '😀'.repeat(200), '😀'.repeat(200)],
  ])('may have %s as sub', (_what, sub, user) => {
    atSecond(NOW);
    expect(symmetric.verify(signRaw({ alg: 'HS256' }, { sub, exp: EXP })).user).toBe(user);
  });

  it.each([
    ['an unsafe integer', 2 ** 53],
    ['a fraction', 1.5],
    ['nothing in it', ''],
    ['201 characters', 'x'.repeat(201)],
    ['half a surrogate pair', '\ud800'],
    ['null', null],
    ['a list', ['42']],
  ])('may not have %s as sub', (_what, sub) => {
    atSecond(NOW);
    const error = refusal(symmetric, signRaw({ alg: 'HS256' }, { sub, exp: EXP }));
    expect(error.fault).toBe('invalid');
    expect(error.message).toMatch(/\bsub\b/);
  });

  it.each([
    ['a text', 'orders'],
    ['numbers', [1]],
    ['a pattern longer than any room name', ['x'.repeat(401)]],
    ['null', null],
    ['more than 1,000 of them', Array.from({ length: 1001 }, (_, n) => `room.${n}`)],
    ['more than 100 with a star', Array.from({ length: 101 }, (_, n) => `room.${n}.*`)],
  ])('may not have %s as rooms', (_what, rooms) => {
    atSecond(NOW);
    const error = refusal(symmetric, sign({ rooms }));
    expect(error.fault).toBe('invalid');
    expect(error.message).toMatch(/\brooms\b/);
  });
});

describe('the time of a token', () => {
  it('is in seconds; milliseconds are refused, and told apart', () => {
    atSecond(NOW);
    const error = refusal(symmetric, signRaw({ alg: 'HS256' }, { sub: 'alice', exp: EXP * 1000 }));
    expect(error.fault).toBe('invalid');
    expect(error.message).toMatch(/\bexp\b.*milliseconds.*seconds/);
  });

  it.each([
    ['before its end', EXP - 1],
    ['at its end', EXP],
    ['within 30 s after its end', EXP + 29],
  ])('lets it hold %s', (_what, second) => {
    atSecond(second);
    expect(symmetric.verify(sign({ sub: 'alice' }))).toMatchObject({ user: 'alice', expires: EXP });
  });

  it.each([EXP + 30, EXP + 31, EXP + 1e6])('is over 30 s after its end', second => {
    atSecond(second);
    expect(refusal(symmetric, sign({})).fault).toBe('expired');
  });

  it('lets a clock that is 30 s ahead sign', () => {
    atSecond(NOW);
    expect(symmetric.verify(sign({ nbf: NOW + 30, iat: NOW + 30 })).expires).toBe(EXP);
    expect(refusal(symmetric, sign({ nbf: NOW + 31 })).fault).toBe('invalid');
  });

  it.each([
    ['missing', undefined],
    ['a text', String(EXP)],
    ['null', null],
  ])('must have an end that is not %s', (_what, exp) => {
    atSecond(NOW);
    const error = refusal(symmetric, signRaw({ alg: 'HS256' }, { sub: 'alice', exp }));
    expect(error.fault).toBe('invalid');
    expect(error.message).toMatch(/\bexp\b/);
  });
});

describe('the claim info', () => {
  it.each([
    ['an empty object', {}, '{}'],
    ['an object', { name: '李', n: 1.5, list: [null] }, '{"name":"李","n":1.5,"list":[null]}'],
    ['1,024 bytes of JSON', { x: 'é'.repeat(508) }, JSON.stringify({ x: 'é'.repeat(508) })],
  ])('may be %s', (_what, info, json) => {
    atSecond(NOW);
    expect(symmetric.verify(sign({ info })).info).toBe(json);
  });

  it('may be left out', () => {
    atSecond(NOW);
    expect(symmetric.verify(sign({})).info).toBeUndefined();
  });

  it.each([
    ['a list, as PHP makes it of an empty array', [], /must be a JSON object \(PHP/],
    ['a list', ['Li'], /must be a JSON object/],
    ['a number', 42, /must be a JSON object/],
    ['a text', 'Li', /must be a JSON object/],
    ['true', true, /must be a JSON object/],
    ['null', null, /must be a JSON object/],
    ['1,025 bytes of JSON', { x: 'x'.repeat(1017) }, /1024 bytes of JSON/],
    ['513 characters of two bytes', { x: 'é'.repeat(509) }, /1024 bytes of JSON/],
  ])('may not be %s', (_what, info, sentence) => {
    atSecond(NOW);
    const error = refusal(symmetric, sign({ info }));
    expect(error.fault).toBe('invalid');
    expect(error.message).toMatch(/^the claim info /);
    expect(error.message).toMatch(sentence);
  });
});

describe('the lifetime of a token', () => {
  const MAX_SECONDS = 3600;
  const limited = new Tokens([SECRET, PREVIOUS], undefined, now, MAX_SECONDS);
  const raw = (claims: object, secret?: string) => signRaw({ alg: 'HS256' }, claims, secret);

  it('has no limit unless it is given', () => {
    atSecond(NOW);
    expect(symmetric.verify(raw({ iat: 0, exp: 1e11 })).expires).toBe(1e11);
  });

  it.each([SECRET, PREVIOUS])('may be as long as the limit, and no longer, with each key', secret => {
    for (const [iat, at] of [
      [NOW, NOW],
      [NOW - 1000, NOW],
      // The signer's clock may be ahead.
      [NOW + 30, NOW],
      [NOW + 0.5, NOW],
    ] as const) {
      atSecond(at);
      const exp = iat + MAX_SECONDS;
      expect(limited.verify(raw({ iat, exp }, secret))).toMatchObject({ issuedAt: iat, expires: exp });
      const error = refusal(limited, raw({ iat, exp: exp + 1 }, secret));
      expect(error.fault).toBe('invalid');
      expect(error.message).toMatch(/more than 3600 seconds \(MAX_TOKEN_SECONDS\)/);
    }
  });

  it('counts from now if the token does not say when it was issued', () => {
    atSecond(NOW);
    expect(limited.verify(raw({ exp: NOW + MAX_SECONDS })).issuedAt).toBeUndefined();
    expect(refusal(limited, raw({ exp: NOW + MAX_SECONDS + 1 })).message).toMatch(/MAX_TOKEN_SECONDS/);
  });

  it('may not begin in the future: such a token could not be revoked', () => {
    atSecond(NOW);
    for (const iat of [NOW + 31, NOW * 1000]) {
      const error = refusal(symmetric, raw({ iat, exp: NOW + 60 }));
      expect(error.message).toMatch(/iat is in (the future|milliseconds)/);
    }
  });

  it('of one that has expired is no matter: it has expired', () => {
    atSecond(NOW);
    expect(refusal(limited, raw({ iat: 0, exp: NOW - 31 })).fault).toBe('expired');
  });

  it.each([
    ['a text', String(NOW)],
    ['null', null],
    ['a list', [NOW]],
  ])('cannot be counted from %s', (_what, iat) => {
    atSecond(NOW);
    for (const tokens of [limited, symmetric]) {
      const error = refusal(tokens, raw({ iat, exp: NOW + 1 }));
      expect(error.fault).toBe('invalid');
      expect(error.message).toMatch(/\biat\b/);
    }
  });
});

describe('the header of a token', () => {
  it('may not name what must be understood (RFC 7515 §4.1.11)', () => {
    atSecond(NOW);
    for (const crit of [['b64'], [], 'exp']) {
      const error = refusal(symmetric, signRaw({ alg: 'HS256', crit }, { sub: 'alice', exp: EXP }));
      expect(error.fault).toBe('invalid');
      expect(error.message).toContain('crit');
    }
  });
});

describe('a token that is none', () => {
  it.each([
    ['', /it is empty/],
    ['<html>login</html>', /three parts.*error page/],
    [sign({ sub: 'alice' }).replace(/\.[^.]*$/, '.x'), /signature does not match.*JWT_SECRET/],
  ])('is refused with a sentence that helps: %j', (token, sentence) => {
    expect(refusal(symmetric, token).message).toMatch(sentence);
  });
});

describe('the signature of a token', () => {
  it.each(['HS256', 'HS384', 'HS512'] as const)('may be %s with a secret', algorithm => {
    atSecond(NOW);
    expect(symmetric.verify(sign({ sub: 'alice' }, { algorithm })).user).toBe('alice');
  });

  it.each(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const)(
    'may be %s with an RSA key, and nothing else',
    algorithm => {
      atSecond(NOW);
      const tokens = new Tokens([], RSA.publicKey, now);
      expect(tokens.verify(sign({ sub: 'alice' }, { algorithm }, RSA.privateKey)).user).toBe('alice');
      expect(refusal(tokens, sign({})).fault).toBe('invalid');
      expect(refusal(symmetric, sign({}, { algorithm }, RSA.privateKey)).fault).toBe('invalid');
    },
  );

  it.each([
    ['ES256', 'P-256'],
    ['ES384', 'P-384'],
    ['ES512', 'P-521'],
  ] as const)('may be %s with a key on %s, and nothing else', (algorithm, curve) => {
    atSecond(NOW);
    const [pair, other] = [keyPair(curve), keyPair(curve)];
    const tokens = new Tokens([], pair.publicKey, now);
    expect(tokens.verify(sign({ sub: 'alice' }, { algorithm }, pair.privateKey)).user).toBe('alice');
    expect(refusal(tokens, sign({}, { algorithm }, other.privateKey)).fault).toBe('invalid');
    expect(refusal(tokens, sign({}, { algorithm: 'RS256' }, RSA.privateKey)).fault).toBe('invalid');
  });

  it('may be of the previous secret', () => {
    atSecond(NOW);
    const tokens = new Tokens([SECRET, PREVIOUS], undefined, now);
    for (const secret of [SECRET, PREVIOUS])
      expect(tokens.verify(sign({ sub: 'alice' }, {}, secret)).user).toBe('alice');
    expect(refusal(symmetric, sign({}, {}, PREVIOUS)).fault).toBe('invalid');
  });

  it('may be of a secret or of a key where both are set', () => {
    atSecond(NOW);
    const tokens = new Tokens([SECRET], RSA.publicKey, now);
    expect(tokens.verify(sign({ sub: 'a' })).user).toBe('a');
    expect(tokens.verify(sign({ sub: 'b' }, { algorithm: 'RS256' }, RSA.privateKey)).user).toBe('b');
  });

  it('is not the text of the public key as a secret', () => {
    atSecond(NOW);
    const forged = signRaw({ alg: 'HS256', typ: 'JWT' }, { sub: 'admin', exp: EXP }, RSA.publicKey);
    expect(refusal(new Tokens([], RSA.publicKey, now), forged).fault).toBe('invalid');
    expect(refusal(new Tokens([SECRET], RSA.publicKey, now), forged).fault).toBe('invalid');
  });

  it('is not left out', () => {
    atSecond(NOW);
    const none = jwt.sign({ sub: 'admin', exp: EXP }, null, { algorithm: 'none' });
    const [header, payload] = sign({ sub: 'admin' }).split('.');
    const upper = signRaw({ alg: 'NONE' }, { sub: 'admin', exp: EXP });
    for (const tokens of [symmetric, new Tokens([], RSA.publicKey, now), new Tokens([], undefined, now)])
      for (const token of [none, `${header}.${payload}.`, `${header}.${payload}`, upper])
        expect(refusal(tokens, token).fault).toBe('invalid');
  });

  it('is of the whole token', () => {
    atSecond(NOW);
    const [header, payload, signature] = sign({ sub: 'alice' }).split('.');
    const other = Buffer.from(JSON.stringify({ sub: 'admin', exp: EXP })).toString('base64url');
    expect(refusal(symmetric, `${header}.${other}.${signature}`).fault).toBe('invalid');
    expect(refusal(symmetric, `${header}.${payload}.${signature}x`).fault).toBe('invalid');
  });

  it('that is wrong is invalid, also when the token has expired', () => {
    atSecond(EXP + 31);
    expect(refusal(symmetric, sign({}, {}, PREVIOUS)).fault).toBe('invalid');
    expect(refusal(new Tokens([PREVIOUS, SECRET], undefined, now), sign({})).fault).toBe('expired');
    expect(refusal(new Tokens([SECRET, PREVIOUS], RSA.publicKey, now), sign({})).fault).toBe('expired');
  });

  it('that is right lets the real fault be told, whatever other keys say', () => {
    atSecond(NOW);
    const tokens = new Tokens([SECRET, PREVIOUS], undefined, now);
    expect(refusal(tokens, sign({ rooms: 'orders' })).message).toMatch(/rooms/);
  });
});

describe('what is no token', () => {
  it.each([
    ['nothing', ''],
    ['dots', '..'],
    ['a word', 'null'],
    ['broken base64', '!!!.???.###'],
    ['a header that is no JSON', signRaw('{"alg":', { exp: EXP })],
    ['a header that is null', signRaw('null', { exp: EXP })],
    ['a payload that is no JSON', signRaw({ alg: 'HS256', typ: 'JWT' }, '{"exp":')],
    ['a payload that is no JSON, without typ', signRaw({ alg: 'HS256' }, 'exp')],
    ['a payload that is a text', signRaw({ alg: 'HS256', typ: 'JWT' }, '"exp"')],
    ['a payload that is null', signRaw({ alg: 'HS256', typ: 'JWT' }, 'null')],
    ['a payload that is a list', signRaw({ alg: 'HS256', typ: 'JWT' }, '[]')],
    ['four parts', `${signRaw({ alg: 'HS256' }, { exp: EXP })}.x`],
    ['a megabyte', 'x'.repeat(1024 * 1024)],
  ])('is refused: %s', (_what, token) => {
    atSecond(NOW);
    const error = refusal(symmetric, token);
    expect(error.fault).toBe('invalid');
    expect(error.message).toMatch(/^the (token|claim)/);
  });
});
