import type { Options } from './types.js';

const NAMES = ['token', 'rooms', 'since', 'acknowledge', 'WebSocket'];
const FOR_TESTS = ['clock', 'random', 'window'];

/** Throws a TypeError for what types would have told: an option that does not exist, a token that is no function. */
export function checkOptions(options: Options): void {
  for (const name of Object.keys(options))
    if (![...NAMES, ...FOR_TESTS].includes(name))
      throw new TypeError(`There is no option ${name}. There are ${NAMES.join(', ')}.`);
  const token: unknown = options.token ?? undefined;
  if (token !== undefined && typeof token !== 'function')
    throw new TypeError('token must be a function that returns the token');
  if (typeof options.rooms === 'string') throw new TypeError('rooms must be a list of names');
}
