import type { Config } from './config.js';
import type { Server } from './server.js';

/** Tells a new user what to do next. Only for development: it shows the secrets. */
export function printBanner(config: Config, server: Server): void {
  const [key = ''] = config.NOTIFY_KEYS;
  const front = reachable(server.url);
  const inside = server.internalUrl === undefined ? server.socketUrl : reachable(server.internalUrl);
  const url = (config.INTERNAL_ONLY ? inside : front) ?? front;
  const notify = url.startsWith('unix:')
    ? `--unix-socket ${url.slice('unix:'.length)} http://localhost/notify`
    : `${url}/notify -H 'Authorization: Bearer ${key}'`;
  const secret =
    config.JWT_SECRET === undefined ? '' : ` JWT_SECRET='${config.JWT_SECRET.replaceAll("'", `'\\''`)}'`;
  console.log(`
  Postroom is listening on ${server.url}

  Page to try it:   ${front}/#key=${key}
  Key for PHP:      ${key}
  JWT secret:       ${config.JWT_SECRET ?? '(tokens are checked with JWT_PUBLIC_KEY)'}

  For the snippets of README.md, in another terminal:

  export POSTROOM_URL=${url} POSTROOM_KEY=${key}${secret}

  Open the page, then send a notification:

  curl ${notify} -H 'Content-Type: application/json' -d '{"room":"public.orders","event":"order.paid","data":{"order":42}}'

  NOTIFY_KEYS and JWT_SECRET are made anew at each start where they are not set.
`);
}

/** Nobody can open the address of all interfaces. */
function reachable(url: string): string {
  return url.replace(/\/\/(0\.0\.0\.0|\[::\])(?=:)/, '//localhost');
}
