/** The parts of a `REDIS_URL`. */
export interface RedisTarget {
  readonly kind: 'single' | 'sentinel' | 'cluster';
  /** The server, the sentinels, or some nodes of the cluster. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly tls: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
  /** The sentinels' name of the master. */
  readonly master: string | undefined;
  readonly sentinelPassword: string | undefined;
}

const FORMS =
  'redis://[user:password@]host[:port][/db], redis+sentinel://[user:password@]host[:port],…/master[/db] or redis+cluster://[user:password@]host[:port],… (rediss for TLS)';
const SCHEME = /^redis(s)?(?:\+(sentinel|cluster))?:\/\/(?:([^@/]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/;
const HOST = /^(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/i;
const PORTS = { single: 6379, sentinel: 26379, cluster: 6379 };

/** Parses a `REDIS_URL`. Throws an Error if it is wrong. The message says what is right, and never repeats the URL. */
export function parseRedisUrl(url: string): RedisTarget {
  const parts = SCHEME.exec(url);
  if (parts === null) throw new Error(`must be ${FORMS}`);
  const [, tls, kind = 'single', userInfo = '', hosts = '', path = '', query] = parts;
  if (kind !== 'single' && kind !== 'sentinel' && kind !== 'cluster') throw new Error(`must be ${FORMS}`);
  // A colon in the password need not be encoded.
  const [, username = '', password = ''] = /^([^:]*):?(.*)$/.exec(userInfo) ?? [];
  const segments = path.split('/').filter(segment => segment !== '');
  const master = kind === 'sentinel' ? segments.shift() : undefined;
  if (kind === 'sentinel' && master === undefined)
    throw new Error('must name the master behind the sentinels: redis+sentinel://host,host/master');
  const [db = '0', ...rest] = segments;
  if (!/^\d{1,4}$/.test(db) || rest.length > 0) throw new Error(`must be ${FORMS}`);
  if (kind === 'cluster' && db !== '0') throw new Error('names a database, but a Redis Cluster has only one');
  if (kind === 'single' && hosts.includes(','))
    throw new Error('names several servers: with redis+sentinel:// or redis+cluster:// it may');
  const options = new URLSearchParams(query);
  return {
    kind,
    hosts: hosts.split(',').map(text => hostOf(text, PORTS[kind])),
    tls: tls === 's',
    username: decoded(username) || undefined,
    password: decoded(password) || undefined,
    db: Number(db),
    master: master === undefined ? undefined : decoded(master),
    sentinelPassword: options.get('sentinelPassword') ?? undefined,
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error('has a % that encodes nothing; as itself it is %25');
  }
}

function hostOf(text: string, defaultPort: number): { host: string; port: number } {
  const [, host, port] = HOST.exec(text) ?? [];
  if (host === undefined || Number(port) > 65535) throw new Error(`must be ${FORMS}`);
  return { host: host.replace(/^\[|\]$/g, ''), port: port === undefined ? defaultPort : Number(port) };
}
