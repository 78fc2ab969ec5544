import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import dotenv from 'dotenv';
import { ConfigError, readConfig, settingWarnings } from '../src/config.js';

const KEY = 'k'.repeat(32);
const SECRET = 's'.repeat(32);
const PRODUCTION = { NODE_ENV: 'production', NOTIFY_KEYS: KEY, JWT_SECRET: SECRET };
const JWKS_URL = 'https://example.com/.well-known/jwks.json';
const PEM = pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);

const text = readFileSync(new URL('../.env.example', import.meta.url), 'utf8');

const folder = mkdtempSync(join(tmpdir(), 'postroom-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

function pem(key: { export(options: { type: 'spki'; format: 'pem' }): string | Buffer }): string {
  return String(key.export({ type: 'spki', format: 'pem' }));
}

/** The reported faults, one in each line. */
function faults(environment: Record<string, string>): string[] {
  try {
    readConfig(environment);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const [title, ...lines] = error.message.split('\n');
    expect(title).toMatch(/cannot start/);
    return lines.map(line => line.replace(/^ {2}- /, ''));
  }
  return [];
}

describe('the settings', () => {
  it('have the defaults of the contract', () => {
    expect(readConfig({})).toMatchObject({
      development: true,
      HOST: '127.0.0.1',
      PORT: 8080,
      INTERNAL_ONLY: false,
      PUBLIC_ROOMS: ['public.*'],
      ALLOWED_ORIGINS: ['*'],
      AUTH_REFRESH_SECONDS: 300,
      AUTH_MAX_REQUESTS: 32,
      TRUST_PROXY: 0,
      RETENTION_SECONDS: 600,
      RETENTION_BYTES: 64 * 1024 * 1024,
      MAX_NOTIFICATION_BYTES: 102400,
      MAX_FRAME_BYTES: 16384,
      MAX_CONNECTIONS: 100000,
      MAX_HTTP_CONNECTIONS: 50000,
      MAX_ROOMS_PER_CONNECTION: 100,
      MAX_TOKEN_SECONDS: 366 * 24 * 60 * 60,
      PRESENCE_ROOMS: ['presence.*', 'presence-*'],
      PRESENCE_GRACE_SECONDS: 3,
      MAX_PRESENCE_MEMBERS: 1000,
      MAX_BUFFERED_BYTES: 1048576,
      PING_SECONDS: 25,
      DRAIN_SECONDS: 10,
      LOG_LEVEL: 'info',
    });
    for (const name of ['INTERNAL_PORT', 'AUTH_URL', 'JWT_PREVIOUS_SECRET', 'JWT_PUBLIC_KEY', 'JWT_JWKS_URL'])
      expect(readConfig({})).not.toHaveProperty(name, expect.anything());
  });

  it.each(['production', 'development', 'test', ''])('take NODE_ENV=%j', mode => {
    const config = readConfig({ ...PRODUCTION, NODE_ENV: mode });
    expect(config.development).toBe(mode !== 'production');
  });

  it('are frozen, and read from nowhere but what is given', () => {
    process.env.PORT = '1';
    try {
      const config = readConfig({});
      expect(config.PORT).toBe(8080);
      expect(Object.isFrozen(config)).toBe(true);
    } finally {
      delete process.env.PORT;
    }
  });

  it.each([
    ['PORT', '0', 0],
    ['PORT', '65535', 65535],
    ['INTERNAL_PORT', '9000', 9000],
    ['TRUST_PROXY', 'off', 0],
    ['TRUST_PROXY', 'false', 0],
    ['TRUST_PROXY', '2', 2],
    ['NOTIFY_KEYS', ` ${KEY} , ${SECRET},`, [KEY, SECRET]],
    ['PUBLIC_ROOMS', 'public.*, 新闻', ['public.*', '新闻']],
    ['ALLOWED_ORIGINS', 'https://a.example,https://b.example', ['https://a.example', 'https://b.example']],
    ['ALLOWED_ORIGINS', 'HTTPS://A.example', ['https://a.example']],
    ...[
      '*',
      'null',
      'https://*.example.com',
      'http://localhost:*',
      'https://a.example:8443',
      'http://[::1]:3000',
    ].map(origin => ['ALLOWED_ORIGINS', origin, [origin]] as [string, string, string[]]),
    ...['capacitor://localhost', 'file://', '*://a.example', '*.example.com', 'http*://a.example'].map(
      origin => ['ALLOWED_ORIGINS', origin, [origin]] as [string, string, string[]],
    ),
    ['MAX_HTTP_CONNECTIONS', '10', 10],
    ['MAX_HTTP_CONNECTIONS', '10000000', 10_000_000],
    ['DRAIN_SECONDS', '0', 0],
    ['JWT_JWKS_URL', JWKS_URL, JWKS_URL],
    ['JWT_JWKS_URL', 'http://localhost:8000/jwks', 'http://localhost:8000/jwks'],
    ['JWT_SECRET', 'ä'.repeat(16), 'ä'.repeat(16)],
    ['AUTH_REFRESH_SECONDS', '10', 10],
    ['AUTH_REFRESH_SECONDS', '86400', 86400],
    ['AUTH_MAX_REQUESTS', '1', 1],
    ['AUTH_MAX_REQUESTS', '1000', 1000],
  ])('%s=%s is %j', (name, text, value) => expect(readConfig({ [name]: text })).toHaveProperty(name, value));

  it('that are empty, as dotenv gives them, are not set', () => {
    const empty = dotenv.parse('PORT=\nNOTIFY_KEYS=\nJWT_SECRET=""\nINTERNAL_PORT= \nPUBLIC_ROOMS=\n');
    const config = readConfig(empty);
    expect(config).toMatchObject({ PORT: 8080, PUBLIC_ROOMS: ['public.*'] });
    expect(config.INTERNAL_PORT).toBeUndefined();
    expect(config.NOTIFY_KEYS).toHaveLength(1);
    expect(faults({ ...PRODUCTION, NOTIFY_KEYS: ' ' })).toEqual([
      expect.stringMatching(/^NOTIFY_KEYS is req/),
    ]);
  });

  it('other than its own are none of its business', () => {
    expect(faults({ PATH: '/bin', POSTROOM: 'x' })).toEqual([]);
  });
});

describe('a variable with nearly the name of a setting', () => {
  it.each([
    ['one letter less', 'NOTIFY_KEY', 'NOTIFY_KEYS'],
    ['one letter more', 'JWT_SECRETS', 'JWT_SECRET'],
    ['another letter', 'REDIS_URI', 'REDIS_URL'],
    ['two neighbours swapped', 'RETENTION_SECNODS', 'RETENTION_SECONDS'],
    ['no underscore', 'LOGLEVEL', 'LOG_LEVEL'],
    ['small letters', 'notify_keys', 'NOTIFY_KEYS'],
    ['small letters, and one less', 'Notify_Key', 'NOTIFY_KEYS'],
    ['the shortest that is looked at', 'JORNAL', 'JOURNAL'],
  ])('is warned of: %s', (_what, name, setting) => {
    expect(settingWarnings({ ...PRODUCTION, [name]: 'x' })).toEqual([
      `${name} is not a setting; did you mean ${setting}?`,
    ]);
    expect(faults({ ...PRODUCTION, [name]: 'x' })).toEqual([]);
  });

  it('is warned of where there are several', () => {
    expect(settingWarnings({ NOTIFY_KEY: 'x', PATH: '/bin', ALLOWED_ORIGIN: 'x' })).toEqual([
      'NOTIFY_KEY is not a setting; did you mean NOTIFY_KEYS?',
      'ALLOWED_ORIGIN is not a setting; did you mean ALLOWED_ORIGINS?',
    ]);
  });

  it.each(['POST', 'PORTS', 'SORT', 'port', 'HOSTS', 'GHOST', 'COST'])(
    'of less than 6 letters may be anything: %s',
    name => expect(settingWarnings({ [name]: 'x' })).toEqual([]),
  );

  it.each([
    ...[
      'PATH',
      'HOME',
      'HOSTNAME',
      'HOSTTYPE',
      'TERM',
      'LOGNAME',
      'USER',
      'SHELL',
      'LANG',
      'TZ',
      'PWD',
      'SHLVL',
    ],
    ...['JOURNAL_STREAM', 'INVOCATION_ID', 'NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS', 'NOTIFY_SOCKETS_DIR'],
    ...['npm_config_loglevel', 'INIT_CWD', 'REDIS_HOST', 'REDIS_PORT', 'KUBERNETES_PORT', 'POSTROOM_KEY'],
  ])('is not what systems and others set: %s', name => expect(settingWarnings({ [name]: 'x' })).toEqual([]));

  it('is none where it is a setting, or not set', () => {
    expect(settingWarnings(dotenv.parse(text))).toEqual([]);
    const all = Object.fromEntries(Object.keys(dotenv.parse(text)).map(name => [name, 'x']));
    expect(settingWarnings(all)).toEqual([]);
    expect(settingWarnings({ NOTIFY_KEY: '', JWT_SECRETS: undefined, REDIS_URI: ' ' })).toEqual([]);
  });
});

describe('in development', () => {
  it('a key and a secret are made up, other ones at each start', () => {
    const [one, two] = [readConfig({}), readConfig({ NODE_ENV: 'test' })];
    for (const config of [one, two]) {
      expect(config.development).toBe(true);
      expect(config.NOTIFY_KEYS).toHaveLength(1);
      expect(config.NOTIFY_KEYS[0]).toMatch(/^[\x21-\x7e]{32,}$/);
      expect(config.JWT_SECRET?.length).toBeGreaterThanOrEqual(32);
    }
    expect(one.NOTIFY_KEYS).not.toEqual(two.NOTIFY_KEYS);
    expect(one.JWT_SECRET).not.toBe(two.JWT_SECRET);
  });

  it('what is set stays, and no secret is made up beside a public key', () => {
    const config = readConfig({ NOTIFY_KEYS: KEY, JWT_PUBLIC_KEY: PEM });
    expect(config.NOTIFY_KEYS).toEqual([KEY]);
    expect(config.JWT_SECRET).toBeUndefined();
    expect(readConfig({ JWT_JWKS_URL: JWKS_URL }).JWT_SECRET).toBeUndefined();
    expect(readConfig({ JWT_SECRET: SECRET, JWT_JWKS_URL: JWKS_URL }).JWT_SECRET).toBe(SECRET);
    expect(readConfig({ JWT_SECRET: SECRET }).JWT_SECRET).toBe(SECRET);
  });
});

describe('in production', () => {
  it('keys and a secret, or a public key, are required', () => {
    expect(readConfig(PRODUCTION).development).toBe(false);
    expect(faults({ ...PRODUCTION, JWT_SECRET: '', JWT_PUBLIC_KEY: PEM })).toEqual([]);
    expect(faults({ ...PRODUCTION, JWT_SECRET: '', JWT_JWKS_URL: JWKS_URL })).toEqual([]);
    expect(faults({ NODE_ENV: 'production' })).toEqual([
      expect.stringMatching(/^NOTIFY_KEYS is required.*openssl/),
      expect.stringMatching(/^JWT_SECRET .*JWT_PUBLIC_KEY.*JWT_JWKS_URL.* is required.*openssl/),
    ]);
    expect(faults({ ...PRODUCTION, NOTIFY_KEYS: ' , ' })).toEqual([expect.stringMatching(/^NOTIFY_KEYS/)]);
  });
});

describe('a fault', () => {
  it.each([
    ['NODE_ENV', 'prod', /production, development or test/],
    ['NODE_ENV', 'Production', /production, development or test/],
    ['PORT', '80x', /0 to 65535/],
    ['PORT', '-1', /0 to 65535/],
    ['PORT', '65536', /0 to 65535/],
    ['PORT', '1e3', /whole number/],
    ['INTERNAL_PORT', 'x', /0 to 65535/],
    ['REDIS_URL', 'localhost:6379', /redis:\/\/.*redis\+sentinel/],
    ['REDIS_URL', 'redis+sentinel://a,b', /name the master/],
    ['RABBITMQ_URL', 'localhost', /amqp:\/\/user:password@host/],
    ['RABBITMQ_PREFETCH', '0', /1 to 65535/],
    ['KAFKA_BROKERS', 'localhost', /host:port/],
    ['KAFKA_TOPIC', 'a topic', /letters, digits/],
    ['KAFKA_SASL_MECHANISM', 'GSSAPI', /SCRAM-SHA-512/],
    ['REDIS_PREFIX', '{a}', /letters, digits/],
    ['INTERNAL_ONLY', 'yes', /true or false/],
    ['NOTIFY_KEYS', 'k'.repeat(31), /32 .*characters/],
    ['NOTIFY_KEYS', `${KEY},short`, /32 .*characters/],
    ['NOTIFY_KEYS', `${'k'.repeat(20)} ${'k'.repeat(20)}`, /visible ASCII/],
    ['JWT_SECRET', 's'.repeat(31), /32 bytes/],
    ['JWT_PREVIOUS_SECRET', 's'.repeat(31), /32 bytes/],
    ['JWT_PUBLIC_KEY', '/nowhere/key.pem', /PEM.*path/],
    ['JWT_PUBLIC_KEY', '-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----', /PEM/],
    ['JWT_JWKS_URL', 'example.com/jwks.json', /must be the http:.. or https:.. address/],
    ['JWT_JWKS_URL', '/etc/jwks.json', /must be the http:.. or https:.. address/],
    ['JWT_JWKS_URL', 'ftp://example.com/jwks.json', /must be the http:.. or https:.. address/],
    ['JWT_JWKS_URL', 'https://', /must be the http:.. or https:.. address/],
    ['JWT_JWKS_URL', 'https://user:hush@example.com/', /without a user name/],
    ['JWT_JWKS_URL', 'https://user@example.com/', /without a user name/],
    ['ALLOWED_ORIGINS', 'example.com', /example\.com.* scheme.*; write https:\/\/example\.com$/],
    ['ALLOWED_ORIGINS', '*,localhost:3000', /localhost:3000.* scheme.*; write https:\/\/localhost:3000$/],
    ['ALLOWED_ORIGINS', 'https://example.com/', /no slash at its end; write https:\/\/example\.com$/],
    ['ALLOWED_ORIGINS', 'http://*.example.com:8080/app/', /no path.*; write http:\/\/\*\.example\.com:8080$/],
    ['ALLOWED_ORIGINS', 'https://a.example?x', /no path.*; write https:\/\/a\.example$/],
    ['ALLOWED_ORIGINS', 'example.com/', /scheme.*; write https:\/\/example\.com$/],
    ['ALLOWED_ORIGINS', '*/', /; write \*$/],
    ['TRUST_PROXY', 'true', /whole number from 0/],
    ...[
      'example.com/auth.php',
      'unix:/run/php.sock',
      'ftp://a/auth.php',
      'http://',
      'https://u:p@a/',
      'http://u@a/',
    ].map(url => ['AUTH_URL', url, /http:\/\/ or https:\/\/.*without a user/] as [string, string, RegExp]),
    ['AUTH_REFRESH_SECONDS', '9', /from 10 to 86400/],
    ['AUTH_REFRESH_SECONDS', '86401', /from 10 to 86400/],
    ['AUTH_MAX_REQUESTS', '0', /from 1 to 1000/],
    ['AUTH_MAX_REQUESTS', '1001', /from 1 to 1000/],
    ['JOURNAL', 'paper', /memory/],
    ['RETENTION_SECONDS', '0', /from 1 to/],
    ['RETENTION_BYTES', '1 MiB', /whole number/],
    ['MAX_NOTIFICATION_BYTES', '1.5', /whole number/],
    ['MAX_FRAME_BYTES', '0', /from 256/],
    ['MAX_CONNECTIONS', '0', /from 1/],
    ['MAX_HTTP_CONNECTIONS', '9', /from 10 to 10000000/],
    ['MAX_HTTP_CONNECTIONS', '10000001', /from 10 to 10000000/],
    ['MAX_CONNECTIONS_PER_USER', '0', /from 1/],
    ['MAX_ROOMS_PER_CONNECTION', 'x', /from 0/],
    ['MAX_BUFFERED_BYTES', '1', /from 1024/],
    ['PING_SECONDS', '0', /from 1/],
    ['DRAIN_SECONDS', 'x', /from 0/],
    ['REQUEST_TIMEOUT_SECONDS', '0', /from 1/],
    ['LOG_LEVEL', 'loud', /debug/],
  ])('of %s=%s is told by name', (name, value, message) => {
    const told = faults({ ...PRODUCTION, [name]: value });
    expect(told).toEqual([expect.stringMatching(message)]);
    expect(told[0]).toMatch(new RegExp(`^${name} `));
  });

  it('never shows a secret', () => {
    const JWT_JWKS_URL = 'https://user:hush@example.com/';
    const told = faults({ NOTIFY_KEYS: 'hush-key', JWT_SECRET: 'hush-secret', JWT_JWKS_URL });
    expect(told).toHaveLength(3);
    expect(String(told)).not.toContain('hush');
  });

  it('is told together with all others', () => {
    const told = faults({
      NODE_ENV: 'production',
      PORT: 'x',
      LOG_LEVEL: 'loud',
      JWT_PREVIOUS_SECRET: 'short',
    });
    expect(told.map(fault => fault.split(' ')[0]).sort()).toEqual([
      'JWT_PREVIOUS_SECRET',
      'JWT_SECRET',
      'LOG_LEVEL',
      'NOTIFY_KEYS',
      'PORT',
    ]);
  });

  it('is told for each origin that is none', () => {
    expect(faults({ ALLOWED_ORIGINS: 'a.example,https://b.example/,https://c.example' })).toEqual([
      expect.stringMatching(/^ALLOWED_ORIGINS has a\.example,/),
      expect.stringMatching(/^ALLOWED_ORIGINS has https:\/\/b\.example\/,/),
    ]);
  });

  it('is told together with contradictions', () => {
    const told = faults({ PORT: 'x', INTERNAL_ONLY: 'true' });
    expect(told.map(fault => fault.split(' ')[0])).toEqual(['PORT', 'INTERNAL_ONLY']);
  });
});

describe('a contradiction', () => {
  it.each<[string, Record<string, string>, RegExp]>([
    ['INTERNAL_ONLY without a place', { INTERNAL_ONLY: 'true' }, /^INTERNAL_ONLY.*INTERNAL_PORT/],
    ['one port for both', { PORT: '9000', INTERNAL_PORT: '9000' }, /^INTERNAL_PORT.*PORT/],
    ['JOURNAL=redis without Redis', { ...PRODUCTION, JOURNAL: 'redis' }, /^JOURNAL=redis needs REDIS_URL/],
    [
      'nodes that would each make up a key',
      { JOURNAL: 'redis', REDIS_URL: 'redis://a', JWT_SECRET: SECRET },
      /^NOTIFY_KEYS is required with JOURNAL=redis, the same for all nodes/,
    ],
    [
      'nodes that would each make up a secret',
      { JOURNAL: 'redis', REDIS_URL: 'redis://a', NOTIFY_KEYS: KEY },
      /^JWT_SECRET .*JWT_JWKS_URL.*JOURNAL=redis/,
    ],
    ['channels of no Redis', { REDIS_CHANNELS: 'a' }, /^REDIS_CHANNELS needs REDIS_URL/],
    ['a stream of no Redis', { REDIS_STREAM: 'a' }, /^REDIS_STREAM needs REDIS_URL/],
    ['a channel twice', { REDIS_URL: 'redis://a', REDIS_CHANNELS: 'a.*,a.b' }, /^REDIS_CHANNELS.*a\.b twice/],
    ['half of the SASL', { KAFKA_SASL_USERNAME: 'u' }, /^KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD/],
    ['a previous secret of none', { JWT_PREVIOUS_SECRET: SECRET }, /^JWT_PREVIOUS_SECRET.*JWT_SECRET/],
  ])('is refused with a sentence: %s', (_what, settings, message) => {
    expect(faults(settings)).toEqual([expect.stringMatching(message)]);
  });

  it('is none where nodes have the keys of one address', () => {
    const settings = { JOURNAL: 'redis', REDIS_URL: 'redis://a', NOTIFY_KEYS: KEY, JWT_JWKS_URL: JWKS_URL };
    expect(faults(settings)).toEqual([]);
  });

  it.each([
    ...['', '*', '**', 'https://a.example,*', 'null', '*://*', 'https://*', 'http://*:*', 'https://*:8443'],
    ...[
      'https://*.*',
      '*null',
      'https://a.example*',
      'https://*a.example',
      'https://*.example',
      'https://a.*',
    ],
  ])('is that any page could use the session of a visitor: ALLOWED_ORIGINS=%s', origins => {
    expect(faults({ AUTH_URL: 'http://127.0.0.1/auth.php', ALLOWED_ORIGINS: origins })).toEqual([
      expect.stringMatching(
        /^ALLOWED_ORIGINS must .*AUTH_URL.*any page could then connect in the name of a vis/,
      ),
    ]);
  });

  it.each([
    'https://a.example',
    'https://*.a.example,http://localhost:*',
    '*.a.example',
    '*://a.example',
    'http://[::1]:3000',
  ])('is none where AUTH_URL and the own pages are named: ALLOWED_ORIGINS=%s', origins => {
    const AUTH_URL = 'https://a.example/auth.php?for=postroom';
    expect(readConfig({ AUTH_URL, ALLOWED_ORIGINS: origins }).AUTH_URL).toBe(AUTH_URL);
  });

  it('is none of the other settings of AUTH_URL without it', () => {
    expect(faults({ AUTH_REFRESH_SECONDS: '60', AUTH_MAX_REQUESTS: '8' })).toEqual([]);
  });

  it('is none where port 0 picks two', () => {
    expect(faults({ PORT: '0', INTERNAL_PORT: '0', INTERNAL_ONLY: '1' })).toEqual([]);
  });
});

describe('JWT_PUBLIC_KEY', () => {
  it('is PEM, PEM in one line, or the path of one', () => {
    const path = join(folder, 'key.pem');
    writeFileSync(path, PEM);
    for (const text of [PEM, PEM.replaceAll('\n', '\\n'), path])
      expect(readConfig({ JWT_PUBLIC_KEY: text }).JWT_PUBLIC_KEY).toBe(PEM);
  });

  it.each([
    ['an RSA key of 1024 bits', () => pem(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)],
    ['an Ed25519 key', () => pem(generateKeyPairSync('ed25519').publicKey)],
    ['a key on secp256k1', () => pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey)],
  ])('is not %s', (_what, make) => {
    expect(faults({ JWT_PUBLIC_KEY: make() })).toEqual([expect.stringMatching(/^JWT_PUBLIC_KEY.*RSA/)]);
  });

  it('is no private key', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const text = String(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    expect(faults({ JWT_PUBLIC_KEY: text })).toEqual([expect.stringMatching(/^JWT_PUBLIC_KEY/)]);
  });
});

describe('.env.example', () => {
  const example = dotenv.parse(text);

  it('carries exactly the settings that settings.ts and config.ts know', () => {
    const sourceOf = (name: string) => readFileSync(new URL(`../src/${name}`, import.meta.url), 'utf8');
    const schema = /z\.object\(\{\n(.*?)\n\}\)/s.exec(sourceOf('settings.ts'))?.[1] ?? '';
    const beside = sourceOf('config.ts').matchAll(/environment\.([A-Z_]+)/g);
    const known = [...schema.matchAll(/^ {2}([A-Z_]+):/gm), ...beside];
    expect(known.length).toBeGreaterThan(20);
    expect(Object.keys(example).sort()).toEqual(known.map(match => match[1]).sort());
  });

  it('carries the defaults', () => {
    const { NOTIFY_KEYS: _key, JWT_SECRET: _secret, ...settings } = readConfig(example);
    expect(readConfig({})).toMatchObject(settings);
  });

  it('explains each in one line, right above it', () => {
    const lines = text.split('\n');
    for (const name of Object.keys(example)) {
      const at = lines.findIndex(line => line.startsWith(`${name}=`));
      expect(lines[at - 1]).toMatch(/^# \S.{10,}/);
      expect(lines[at - 2]).not.toMatch(/^#/);
    }
  });
});
