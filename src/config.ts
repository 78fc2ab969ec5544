import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { publicKeyVerifier } from './auth/verifier.js';
import { signingKeyOf } from './backend/signature.js';
import { isNear } from './model/near.js';
import { matches } from './model/pattern.js';
import { reasonOf } from './model/reason.js';
import { StartError } from './model/start-error.js';
import { parseRedisUrl } from './redis/url.js';
import { EVENT_TYPES } from './webhooks/event.js';

/** All settings, checked, by the names of their environment variables, as in README and .env.example. */
export type Config = Readonly<z.output<typeof Settings>> & {
  /** True if not in production. Then missing secrets are made for this run, and `GET /` shows a page. */
  readonly development: boolean;
  /** True if `NOTIFY_KEYS` was not set: then its key was made for this run. */
  readonly areKeysMadeUp: boolean;
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Lists everything that is wrong with the settings. */
export class ConfigError extends StartError {
  constructor(faults: readonly string[]) {
    super(`Postroom cannot start with these settings:\n${faults.map(fault => `  - ${fault}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

const MIN_SECRET_LENGTH = 32;
const HOW_TO_MAKE_ONE = 'make one with: openssl rand -hex 32';
// Short names are similar to too many others: PORT is one letter away from POST, PORTS and SORT.
const MIN_COMPARED_LENGTH = 6;

/**
 * Reads the settings from an environment. Throws a ConfigError that lists every fault by name. In development, makes a
 * missing key and a missing JWT secret, at random.
 */
export function readConfig(environment: Environment): Config {
  const given = whatIsSet(environment);
  const development = given.NODE_ENV !== 'production';
  const settings = Settings.safeParse(given);
  const faults = settings.success
    ? contradictions(settings.data, development)
    : [
        ...settings.error.issues.map(faultOf),
        ...otherContradictions(given, settings.error.issues, development),
      ];
  if (!settings.success || faults.length > 0) throw new ConfigError(faults);
  const { NOTIFY_KEYS, JWT_SECRET } = settings.data;
  return Object.freeze({
    ...settings.data,
    development,
    areKeysMadeUp: NOTIFY_KEYS.length === 0,
    NOTIFY_KEYS: NOTIFY_KEYS.length > 0 ? NOTIFY_KEYS : [randomBytes(24).toString('hex')],
    JWT_SECRET: JWT_SECRET ?? (hasPublicKeys(settings.data) ? undefined : randomBytes(32).toString('hex')),
  });
}

/**
 * A sentence for each variable whose name is nearly the name of a setting: probably a typing error. The variable may
 * also belong to another program, so this is no fault.
 */
export function settingWarnings(environment: Environment): string[] {
  const settings = Object.keys(Settings.shape);
  const compared = settings.filter(setting => setting.length >= MIN_COMPARED_LENGTH);
  return Object.keys(whatIsSet(environment)).flatMap(name => {
    if (settings.includes(name)) return [];
    const meant = compared.find(setting => isNear(name.toUpperCase(), setting));
    return meant === undefined ? [] : [`${name} is not a setting; did you mean ${meant}?`];
  });
}

/** An empty value in an .env file means: not set. */
function whatIsSet(environment: Environment): Environment {
  return Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value.trim() !== ''),
  );
}

function whole(defaultValue: number, min: number, max: number) {
  const rule = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, rule)
    .transform(Number)
    .refine(value => value >= min && value <= max, rule)
    .default(defaultValue);
}

function list(defaultValue: readonly string[]) {
  return z
    .string()
    .transform(text =>
      text
        .split(',')
        .map(item => item.trim())
        .filter(item => item !== ''),
    )
    .default([...defaultValue]);
}

const flag = z
  .enum(['true', 'false', '1', '0'], 'must be true or false')
  .transform(text => text === 'true' || text === '1')
  .default(false);

const secret = z
  .string()
  .refine(
    text => Buffer.byteLength(text) >= MIN_SECRET_LENGTH,
    `must have ${MIN_SECRET_LENGTH} bytes or more; ${HOW_TO_MAKE_ONE}`,
  )
  .optional();

const publicKey = z
  .string()
  .transform((text, context) => {
    try {
      const pem = text.includes('-----BEGIN') ? text.replaceAll('\\n', '\n') : readFileSync(text, 'utf8');
      publicKeyVerifier(pem);
      return pem;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      context.addIssue(`must be a public key in PEM, or a path to one: ${reason}`);
      return z.NEVER;
    }
  })
  .optional();

const redisUrl = z
  .string()
  .superRefine((text, context) => {
    try {
      parseRedisUrl(text);
    } catch (error) {
      context.addIssue(error instanceof Error ? error.message : String(error));
    }
  })
  .optional();

const amqpUrl = z
  .string()
  .refine(
    text => /^amqps?:\/\//.test(text) && URL.canParse(text),
    'must be amqp://user:password@host[:port][/vhost] (amqps for TLS)',
  )
  .optional();

const backendUrl = z
  .string()
  .refine(text => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    return /^https?:\/\//i.test(text) && url !== undefined && url.username === '' && url.password === '';
  }, 'must be the http:// or https:// address of a page of your backend, without a user name and a password')
  .optional();

const webhookKey = z
  .string()
  .transform((text, context) => {
    try {
      return signingKeyOf(text);
    } catch (error) {
      context.addIssue(`${reasonOf(error)}; make one with: echo "whsec_$(openssl rand -base64 32)"`);
      return z.NEVER;
    }
  })
  .optional();

const topic = z
  .string()
  // With `.dead` after it, it must still be a topic name.
  .regex(/^[\w.-]{1,244}$/, 'must be 1 to 244 ASCII letters, digits and _ . -');

const prefix = z.string().regex(/^[\w.:-]{1,100}$/, 'must be 1 to 100 letters, digits and _ . : -');

const port = (defaultValue: number) => whole(defaultValue, 0, 65535);

const origins = list(['*'])
  // Browsers send origins in lower case.
  .transform(origins => origins.map(origin => origin.toLowerCase()))
  .superRefine((origins, context) => {
    for (const origin of origins) {
      const right = rightOrigin(origin);
      if (right === origin) continue;
      const fault = origin.includes('://') ? 'has no path and no slash at its end' : 'begins with its scheme';
      context.addIssue(`has ${origin}, but an origin ${fault}; write ${right}`);
    }
  });

/** An entry of ALLOWED_ORIGINS in the form of an Origin header (RFC 6454 §7): a scheme, a host, perhaps a port. */
function rightOrigin(origin: string): string {
  if (origin === 'null') return origin;
  const [, scheme, host = ''] = /^([^/]*:\/\/)?([^/?#]*)/.exec(origin) ?? [];
  // A star at the beginning includes the scheme.
  return (scheme ?? (host.startsWith('*') ? '' : 'https://')) + host;
}

const Settings = z.object({
  NODE_ENV: z
    .enum(
      ['production', 'development', 'test'],
      'must be production, development or test; an empty one means development',
    )
    .optional(),
  HOST: z.string().default('127.0.0.1'),
  PORT: port(8080),
  INTERNAL_PORT: port(0).unwrap().optional(),
  INTERNAL_HOST: z.string().default('127.0.0.1'),
  INTERNAL_ONLY: flag,
  NOTIFY_SOCKET: z.string().optional(),
  NOTIFY_KEYS: list([]).refine(
    keys => keys.every(key => /^[\x21-\x7e]{32,}$/.test(key)),
    `must be a comma-separated list of keys of ${MIN_SECRET_LENGTH} visible ASCII characters or more each; ${HOW_TO_MAKE_ONE}`,
  ),
  JWT_SECRET: secret,
  JWT_PREVIOUS_SECRET: secret,
  JWT_PUBLIC_KEY: publicKey,
  JWT_JWKS_URL: backendUrl,
  MAX_TOKEN_SECONDS: whole(366 * 24 * 60 * 60, 60, 100 * 366 * 24 * 60 * 60),
  PUBLIC_ROOMS: list(['public.*']).transform(rooms => (rooms.join() === 'none' ? [] : rooms)),
  ALLOWED_ORIGINS: origins,
  AUTH_URL: backendUrl,
  AUTH_REFRESH_SECONDS: whole(300, 10, 24 * 60 * 60),
  AUTH_MAX_REQUESTS: whole(32, 1, 1000),
  TRUST_PROXY: z
    .string()
    .transform(text => (/^(off|false)$/i.test(text) ? '0' : text))
    .pipe(whole(0, 0, 100).unwrap())
    .default(0),
  JOURNAL: z.enum(['disk', 'memory', 'redis'], 'must be disk, memory or redis').default('disk'),
  DATA_DIR: z.string().default('./data'),
  RETENTION_SECONDS: whole(600, 1, 30 * 24 * 60 * 60),
  RETENTION_BYTES: whole(64 * 1024 * 1024, 1024, 64 * 1024 ** 3),
  MAX_NOTIFICATION_BYTES: whole(102400, 64, 8 * 1024 * 1024),
  MAX_FRAME_BYTES: whole(16384, 256, 1024 * 1024),
  MAX_CONNECTIONS: whole(100000, 1, 10_000_000),
  MAX_HTTP_CONNECTIONS: whole(50000, 10, 10_000_000),
  MAX_CONNECTIONS_PER_USER: whole(10000, 1, 10_000_000),
  PRESENCE_ROOMS: list(['presence.*', 'presence-*']).transform(rooms =>
    rooms.join() === 'none' ? [] : rooms,
  ),
  PRESENCE_GRACE_SECONDS: whole(3, 0, 3600),
  MAX_PRESENCE_MEMBERS: whole(1000, 1, 100_000),
  MAX_ROOMS_PER_CONNECTION: whole(100, 0, 1000),
  MAX_BUFFERED_BYTES: whole(1024 * 1024, 1024, 1024 ** 3),
  PING_SECONDS: whole(25, 1, 3600),
  DRAIN_SECONDS: whole(10, 0, 3600),
  REQUEST_TIMEOUT_SECONDS: whole(10, 1, 300),
  REDIS_URL: redisUrl,
  REDIS_PREFIX: prefix.default('postroom'),
  REDIS_CHANNELS: list([]),
  REDIS_CHANNEL_PREFIX: z.string().default(''),
  REDIS_STREAM: z.string().optional(),
  RABBITMQ_URL: amqpUrl,
  RABBITMQ_QUEUE: z.string().max(200, 'must have 200 characters or less').default('postroom'),
  RABBITMQ_PREFETCH: whole(1000, 1, 65535),
  KAFKA_BROKERS: list([]).refine(
    brokers => brokers.every(broker => /^(\[[0-9a-f:.]+\]|[\w.-]+):\d{1,5}$/i.test(broker)),
    'must be a comma-separated list of host:port',
  ),
  KAFKA_TOPIC: topic.default('postroom'),
  KAFKA_GROUP: z.string().max(200, 'must have 200 characters or less').default('postroom'),
  KAFKA_TLS: flag,
  KAFKA_SASL_MECHANISM: z
    .enum(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'], 'must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512')
    .default('SCRAM-SHA-512'),
  KAFKA_SASL_USERNAME: z.string().optional(),
  KAFKA_SASL_PASSWORD: z.string().optional(),
  WEBHOOK_URL: backendUrl,
  WEBHOOK_SECRET: webhookKey,
  WEBHOOK_EVENTS: list(['*']).superRefine((patterns, context) => {
    if (patterns.length === 0) context.addIssue('has no event; leave it out to hear of all');
    for (const pattern of patterns)
      if (!EVENT_TYPES.some(type => matches(pattern, type)))
        context.addIssue(`has ${pattern}, which is no event; there are ${EVENT_TYPES.join(', ')}`);
  }),
  WEBHOOK_RETENTION_SECONDS: whole(24 * 60 * 60, 1, 30 * 24 * 60 * 60),
  WEBHOOK_RETENTION_BYTES: whole(64 * 1024 * 1024, 1024, 64 * 1024 ** 3),
  CALL_URL: backendUrl,
  CALL_TIMEOUT_SECONDS: whole(5, 1, 300),
  MAX_CALLS: whole(100, 1, 10_000),
  MAX_CLIENT_MESSAGES_PER_SECOND: whole(10, 1, 100_000),
  LOG_LEVEL: z
    .enum(
      ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
      'must be fatal, error, warn, info, debug, trace or silent',
    )
    .default('info'),
});

function faultOf(issue: z.core.$ZodIssue): string {
  return `${issue.path.join('.')} ${issue.message}`;
}

/** The contradictions among the valid settings, if others are invalid: so the user sees all faults at once. */
function otherContradictions(
  given: Environment,
  issues: readonly z.core.$ZodIssue[],
  development: boolean,
): string[] {
  const wrong = issues.map(issue => String(issue.path[0]));
  const right = Object.fromEntries(Object.entries(given).filter(([name]) => !wrong.includes(name)));
  const settings = Settings.safeParse(right);
  if (!settings.success) return [];
  return contradictions(settings.data, development).filter(
    // Faults of invalid settings are reported already.
    fault => !wrong.some(name => new RegExp(`\\b${name}\\b`).test(fault)),
  );
}

/** Whether tokens can be checked without a secret. */
function hasPublicKeys({ JWT_PUBLIC_KEY, JWT_JWKS_URL }: z.output<typeof Settings>): boolean {
  return JWT_PUBLIC_KEY !== undefined || JWT_JWKS_URL !== undefined;
}

/** Faults of settings that are valid one by one, but not together. */
function contradictions(settings: z.output<typeof Settings>, development: boolean): string[] {
  const faults = [];
  if (!development && settings.NOTIFY_KEYS.length === 0)
    faults.push(`NOTIFY_KEYS is required with NODE_ENV=production; ${HOW_TO_MAKE_ONE}`);
  if (!development && settings.JWT_SECRET === undefined && !hasPublicKeys(settings))
    faults.push(
      `JWT_SECRET (or JWT_PUBLIC_KEY or JWT_JWKS_URL) is required with NODE_ENV=production; ${HOW_TO_MAKE_ONE}`,
    );
  if (settings.JWT_PREVIOUS_SECRET !== undefined && settings.JWT_SECRET === undefined)
    faults.push('JWT_PREVIOUS_SECRET is there to change JWT_SECRET, which is not set');
  if (settings.INTERNAL_ONLY && settings.INTERNAL_PORT === undefined && settings.NOTIFY_SOCKET === undefined)
    faults.push('INTERNAL_ONLY leaves nowhere to POST to; set INTERNAL_PORT or NOTIFY_SOCKET');
  if (
    settings.INTERNAL_PORT !== undefined &&
    settings.INTERNAL_PORT !== 0 &&
    settings.INTERNAL_PORT === settings.PORT
  )
    faults.push('INTERNAL_PORT must differ from PORT');
  return [
    ...faults,
    ...sessionContradictions(settings),
    ...webhookContradictions(settings),
    ...bridgeContradictions(settings),
  ];
}

function webhookContradictions(settings: z.output<typeof Settings>): string[] {
  const { WEBHOOK_URL, CALL_URL, WEBHOOK_SECRET } = settings;
  const faults = [];
  if (WEBHOOK_SECRET === undefined && WEBHOOK_URL !== undefined)
    faults.push('WEBHOOK_URL needs WEBHOOK_SECRET, which signs the requests');
  if (WEBHOOK_SECRET === undefined && CALL_URL !== undefined)
    faults.push('CALL_URL needs WEBHOOK_SECRET, which signs the requests');
  if (WEBHOOK_SECRET !== undefined && WEBHOOK_URL === undefined && CALL_URL === undefined)
    faults.push('WEBHOOK_SECRET signs the requests to WEBHOOK_URL and CALL_URL; set one of them');
  return faults;
}

function sessionContradictions({ AUTH_URL, ALLOWED_ORIGINS }: z.output<typeof Settings>): string[] {
  const open = AUTH_URL === undefined ? undefined : ALLOWED_ORIGINS.find(isOpenToAnyPage);
  if (open === undefined) return [];
  return [
    `ALLOWED_ORIGINS must name the origins of your own pages with AUTH_URL, such as https://example.com; it is ${open === '*' ? '*, also if it is not set' : `open with ${open}`}. Browsers send cookies from every page, so any page could then connect in the name of a visitor`,
  ];
}

// A star may stand for sub-domains, or for the scheme or the port.
const OWN_ORIGIN =
  /^((\*|[a-z][a-z\d+.-]*):\/\/)?(\[[\da-f:.]+\]|[^*/:[\]]+|\*\.[^*/:[\]]+\.[^*/:[\]]+)(:(\d+|\*))?$/;

/** Whether strangers can have an origin that matches a pattern. */
function isOpenToAnyPage(pattern: string): boolean {
  // Any page can put a part of itself into a sandboxed frame, whose origin is null.
  return pattern === 'null' || !OWN_ORIGIN.test(pattern);
}

function bridgeContradictions(settings: z.output<typeof Settings>): string[] {
  const faults = [];
  const { JOURNAL, REDIS_URL, REDIS_CHANNELS, REDIS_STREAM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD } =
    settings;
  if (JOURNAL === 'redis' && REDIS_URL === undefined)
    faults.push('JOURNAL=redis needs REDIS_URL, the address of Redis');
  if (JOURNAL === 'redis' && settings.NOTIFY_KEYS.length === 0)
    faults.push(`NOTIFY_KEYS is required with JOURNAL=redis, the same for all nodes; ${HOW_TO_MAKE_ONE}`);
  if (JOURNAL === 'redis' && settings.JWT_SECRET === undefined && !hasPublicKeys(settings))
    faults.push(
      `JWT_SECRET (or JWT_PUBLIC_KEY or JWT_JWKS_URL) is required with JOURNAL=redis, the same for all nodes; ${HOW_TO_MAKE_ONE}`,
    );
  if (REDIS_URL === undefined && REDIS_CHANNELS.length > 0)
    faults.push('REDIS_CHANNELS needs REDIS_URL, the address of Redis');
  if (REDIS_URL === undefined && REDIS_STREAM !== undefined)
    faults.push('REDIS_STREAM needs REDIS_URL, the address of Redis');
  for (const channel of REDIS_CHANNELS) {
    const pattern = REDIS_CHANNELS.find(other => other !== channel && matches(other, channel));
    if (pattern !== undefined)
      faults.push(`REDIS_CHANNELS would take ${channel} twice: ${pattern} matches it too`);
  }
  if ((KAFKA_SASL_USERNAME === undefined) !== (KAFKA_SASL_PASSWORD === undefined))
    faults.push('KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD belong together; set both');
  return faults;
}
