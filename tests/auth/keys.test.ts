import { describe, expect, it } from '@jest/globals';
import { PublisherKeys } from '../../src/auth/keys.js';
import { Problem } from '../../src/model/problem.js';

const [OLD, NEW] = ['an-old-key-of-32-characters-or-more', 'a-new-key-of-32-characters-or-more!'];

function refusal(keys: PublisherKeys, header: string | undefined, caller = '192.0.2.1'): Problem {
  try {
    keys.require(header, caller);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

describe('the keys of publishers', () => {
  const keys = new PublisherKeys([OLD, NEW], () => 0);

  it.each([`Bearer ${OLD}`, `Bearer ${NEW}`, `bearer ${OLD}`, `BEARER   ${NEW}  `])('accept %j', header =>
    expect(keys.check(header, '192.0.2.1')).toBe(true),
  );

  it.each([
    undefined,
    '',
    'Bearer',
    'Bearer ',
    OLD,
    `Basic ${OLD}`,
    `Bearer ${OLD.slice(1)}`,
    `Bearer ${OLD}x`,
    `Bearer ${OLD} ${NEW}`,
    `Bearer ${OLD},${NEW}`,
    `Bearer ${OLD.toUpperCase()}`,
    `x Bearer ${OLD}`,
    `Bearer ${'ä'.repeat(32)}`,
  ])('do not accept %j', header => expect(keys.check(header, '192.0.2.1')).toBe(false));

  it('accept nothing where there are none', () => {
    const none = new PublisherKeys([], () => 0);
    for (const header of [undefined, 'Bearer ', 'Bearer x'])
      expect(none.check(header, '192.0.2.1')).toBe(false);
  });

  it('say what to send, and never repeat what was sent', () => {
    const missing = refusal(keys, undefined);
    expect(missing).toMatchObject({ code: 'unauthorized', status: 401 });
    expect(missing.message).toMatch(/Authorization: Bearer <key>.*NOTIFY_KEYS/);
    const wrong = refusal(keys, 'Bearer mistaken');
    expect(wrong.headers['WWW-Authenticate']).toMatch(/^Bearer\b/);
    expect(JSON.stringify(wrong)).not.toContain('mistaken');
    expect(JSON.stringify(wrong)).not.toContain(OLD);
  });
});

describe('a caller that is wrong again and again', () => {
  it('is held up after 20 times, until the minute is over; others are not', () => {
    let now = 1_000_000;
    const keys = new PublisherKeys([OLD], () => now);
    for (let i = 0; i < 20; i++) expect(refusal(keys, 'Bearer x').code).toBe('unauthorized');
    now += 59_999;
    const limited = refusal(keys, 'Bearer x');
    expect(limited).toMatchObject({ code: 'rate_limited', status: 429, headers: { 'Retry-After': '1' } });
    expect(refusal(keys, 'Bearer x', '192.0.2.2').code).toBe('unauthorized');
    expect(() => keys.require(`Bearer ${OLD}`, '192.0.2.1')).not.toThrow();
    expect(refusal(keys, 'Bearer x').code).toBe('rate_limited');
    now += 1;
    expect(refusal(keys, 'Bearer x').code).toBe('unauthorized');
  });

  it('is not held up by being right', () => {
    const keys = new PublisherKeys([OLD], () => 0);
    for (let i = 0; i < 100; i++) keys.require(`Bearer ${OLD}`, '192.0.2.1');
    expect(refusal(keys, 'Bearer x').code).toBe('unauthorized');
  });
});
