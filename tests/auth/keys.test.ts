import { describe, expect, it } from '@jest/globals';
import { PublisherKeys } from '../../src/auth/keys.js';
import { Problem } from '../../src/model/problem.js';

const [OLD, NEW] = ['an-old-key-of-32-characters-or-more', 'a-new-key-of-32-characters-or-more!'];

function refusal(keys: PublisherKeys, header: string | undefined): Problem {
  try {
    keys.require(header);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

describe('the keys of publishers', () => {
  const keys = new PublisherKeys([OLD, NEW]);

  it.each([`Bearer ${OLD}`, `Bearer ${NEW}`, `bearer ${OLD}`, `BEARER   ${NEW}  `])('accept %j', header =>
    expect(keys.check(header)).toBe(true),
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
  ])('do not accept %j', header => expect(keys.check(header)).toBe(false));

  it('accept nothing where there are none', () => {
    const none = new PublisherKeys([]);
    for (const header of [undefined, 'Bearer ', 'Bearer x']) expect(none.check(header)).toBe(false);
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

  it('tell a scheme that is missing from a key that is wrong, and say where a key of this start is shown', () => {
    expect(refusal(keys, OLD).message).toContain('must be "Authorization: Bearer <key>"');
    expect(refusal(keys, 'Bearer x').message).toContain('none of the keys in NOTIFY_KEYS');
    const madeUp = refusal(new PublisherKeys([OLD], true), 'Bearer x').message;
    expect(madeUp).toMatch(/new key at each start.*terminal/);
  });
});

describe('a caller that is wrong again and again', () => {
  it('is told the same each time, and is right when it has a right key', () => {
    const keys = new PublisherKeys([OLD]);
    for (let i = 0; i < 1000; i++) expect(refusal(keys, 'Bearer x').code).toBe('unauthorized');
    expect(() => keys.require(`Bearer ${OLD}`)).not.toThrow();
  });
});
