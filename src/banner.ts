import type { Config } from './config.js';
import type { Server } from './server.js';

/** Tells a person who starts it for the first time what to do next. Development only: it shows the key. */
export function printBanner(config: Config, server: Server): void {
  const [key = ''] = config.NOTIFY_KEYS;
  const notifyUrl = `${config.INTERNAL_ONLY ? server.internalUrl : server.url}/notify`;
  console.log(`
  Postroom is listening on ${server.url}

  Page to try it:   ${server.url}/#key=${key}
  Key for PHP:      ${key}

  Send a notification:

  curl ${notifyUrl} -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -d '{"room":"public.demo","event":"hello","data":{"from":"curl"}}'

  Key and JWT secret that are not set are made anew at each start; set NOTIFY_KEYS and JWT_SECRET to keep them.
`);
}
