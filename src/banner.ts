import type { Config } from './config.js';
import type { Server } from './server.js';

/** Tells a person who starts it for the first time what to do next. Development only: it shows the secrets. */
export function printBanner(config: Config, server: Server): void {
  const [key = ''] = config.NOTIFY_KEYS;
  const notifyUrl = `${config.INTERNAL_ONLY ? server.internalUrl : server.url}/notify`;
  console.log(`
  Postroom is listening on ${server.url}

  Page to try it:   ${server.url}/#key=${key}
  Key for PHP:      ${key}
  JWT secret:       ${config.JWT_SECRET ?? '(tokens are checked with JWT_PUBLIC_KEY)'}

  Open the page, then send a notification:

  curl ${notifyUrl} -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -d '{"room":"public.demo","event":"hello","data":{"from":"curl"}}'

  NOTIFY_KEYS and JWT_SECRET are made anew at each start where they are not set.
`);
}
