import { describe, expect, it } from '@jest/globals';
import { parseRedisUrl } from '../../src/redis/url.js';

const PASSWORD = 'hunter2-and-more';

describe('REDIS_URL', () => {
  it('names one server, by default at port 6379 and its database 0', () => {
    expect(parseRedisUrl('redis://redis.internal')).toEqual({
      kind: 'single',
      hosts: [{ host: 'redis.internal', port: 6379 }],
      tls: false,
      username: undefined,
      password: undefined,
      db: 0,
      master: undefined,
      sentinelPassword: undefined,
    });
    expect(parseRedisUrl('redis://10.0.0.1:7000/3')).toMatchObject({
      hosts: [{ host: '10.0.0.1', port: 7000 }],
      db: 3,
    });
    expect(parseRedisUrl('redis://localhost/')).toMatchObject({ db: 0 });
  });

  it('names sentinels, by default at port 26379, and the master that they watch', () => {
    const { kind, hosts, master, db } = parseRedisUrl('redis+sentinel://one,two:5000,three/my-master/2');
    expect({ kind, master, db }).toEqual({ kind: 'sentinel', master: 'my-master', db: 2 });
    expect(hosts).toEqual([
      { host: 'one', port: 26379 },
      { host: 'two', port: 5000 },
      { host: 'three', port: 26379 },
    ]);
    expect(parseRedisUrl('redis+sentinel://one/master%20one')).toMatchObject({
      master: 'master one',
      db: 0,
      sentinelPassword: undefined,
    });
  });

  it('has apart the password of the sentinels', () => {
    expect(parseRedisUrl('redis+sentinel://:of-redis@one/master?sentinelPassword=of%26them')).toMatchObject({
      password: 'of-redis',
      sentinelPassword: 'of&them',
    });
  });

  it('names some nodes of a cluster', () => {
    expect(parseRedisUrl('redis+cluster://user:pass@one,two:7001')).toMatchObject({
      kind: 'cluster',
      hosts: [
        { host: 'one', port: 6379 },
        { host: 'two', port: 7001 },
      ],
      username: 'user',
      password: 'pass',
      db: 0,
    });
  });

  it.each(['rediss://one', 'rediss+sentinel://one/master', 'rediss+cluster://one'])('says TLS: %s', url => {
    expect(parseRedisUrl(url)).toMatchObject({ tls: true, hosts: [{ host: 'one' }] });
    expect(parseRedisUrl(url.replace('rediss', 'redis'))).toMatchObject({ tls: false });
  });

  it('takes IPv6 in brackets', () => {
    expect(parseRedisUrl('redis://[::1]').hosts).toEqual([{ host: '::1', port: 6379 }]);
    expect(parseRedisUrl('redis+cluster://[2001:DB8::1]:7000,[::ffff:10.0.0.1]:7001').hosts).toEqual([
      { host: '2001:DB8::1', port: 7000 },
      { host: '::ffff:10.0.0.1', port: 7001 },
    ]);
  });

  it.each([
    [':secret', undefined, 'secret'],
    ['user:secret', 'user', 'secret'],
    ['user:p%40ss%2Fw%3Ard%25%3F', 'user', 'p@ss/w:rd%?'],
    ['user%3Aone:Z%C3%BCrich', 'user:one', 'Zürich'],
    // Everything after the first colon is the password (RFC 3986 §3.2.1 lets colons stand there).
    ['user:one:two:', 'user', 'one:two:'],
    ['user', 'user', undefined],
    ['', undefined, undefined],
  ])('has user and password percent-encoded: %s', (userInfo, username, password) => {
    expect(parseRedisUrl(`redis://${userInfo}@one`)).toMatchObject({ username, password });
  });

  it.each([
    ['', /must be redis:/],
    ['one:6379', /must be redis:/],
    [`http://user:${PASSWORD}@one`, /must be redis:/],
    [`redis+other://user:${PASSWORD}@one`, /must be redis:/],
    [`redis://user:${PASSWORD}@`, /must be redis:/],
    [`redis://user:${PASSWORD}@one:port`, /must be redis:/],
    [`redis://user:${PASSWORD}@one:65536`, /must be redis:/],
    [`redis://user:${PASSWORD}@::1`, /must be redis:/],
    [`redis://user:${PASSWORD}@one/database`, /must be redis:/],
    [`redis://user:${PASSWORD}@one/0/1`, /must be redis:/],
    [`redis://user:${PASSWORD}/not-encoded@one`, /must be redis:/],
    [`redis://user:${PASSWORD}@not-encoded@one`, /must be redis:/],
    [`redis://user:${PASSWORD}%zz@one`, /has a % that encodes nothing/],
    [`redis://user:${PASSWORD}@one,two`, /names several servers/],
    [`redis+sentinel://user:${PASSWORD}@one,two`, /must name the master/],
    [`redis+sentinel://user:${PASSWORD}@one,/master`, /must be redis:/],
    [`redis+sentinel://user:${PASSWORD}@one/master/database`, /must be redis:/],
    [`redis+sentinel://one/%zz?sentinelPassword=${PASSWORD}`, /has a % that encodes nothing/],
    [`redis+cluster://user:${PASSWORD}@one/1`, /a Redis Cluster has only one/],
  ])('is refused with what is wrong, and never shown: %s', (url, reason) => {
    expect(() => parseRedisUrl(url)).toThrow(reason);
    let message = '';
    try {
      parseRedisUrl(url);
    } catch (error) {
      message = String(error);
    }
    expect(message).not.toContain(PASSWORD);
    if (url !== '') expect(message).not.toContain(url);
  });
});
