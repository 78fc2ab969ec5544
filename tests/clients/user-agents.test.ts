import { expect, it } from '@jest/globals';
import { UserAgents } from '../../src/clients/user-agents.js';

it('keeps at most 300 characters of a user agent, and few of them', () => {
  const userAgents = new UserAgents();
  expect(userAgents.of(undefined)).toBeUndefined();
  expect(userAgents.of('Mozilla')).toBe('Mozilla');
  expect(userAgents.of('x'.repeat(301))).toBe('x'.repeat(300));
  for (let number = 0; number < 3000; number++)
    expect(userAgents.of(`agent ${number}`)).toBe(`agent ${number}`);
});
