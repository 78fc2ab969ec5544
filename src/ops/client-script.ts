import { readFileSync } from 'node:fs';
import { Router } from 'express';

const MAX_AGE_SECONDS = 3600;

const SCRIPT = 'text/javascript';

/** The browser client as a plain script, as a module, and its types. Made by `npm run build`. */
const FILES = {
  '/client.js': { name: 'postroom.global.js', type: SCRIPT },
  '/client.mjs': { name: 'postroom.js', type: SCRIPT },
  // Not its own type: there is none, and ".ts" is a video to many.
  '/client.d.ts': { name: 'postroom.d.ts', type: 'text/plain' },
};

export const readClient = (name: string) =>
  readFileSync(new URL(`../../dist/client/${name}`, import.meta.url));

/**
 * `GET /client.js`, `/client.mjs` and `/client.d.ts`: for pages of any origin, kept by browsers for an hour and
 * revalidated by ETag.
 */
export function clientScriptRouter(): Router {
  const router = Router();
  for (const [path, { name, type }] of Object.entries(FILES)) {
    const content = readClient(name);
    router.get(path, (_request, response) => {
      response
        .set('Cache-Control', `public, max-age=${MAX_AGE_SECONDS}`)
        // A page is seldom of the same origin as this server; helmet would keep the script from it.
        .set('Cross-Origin-Resource-Policy', 'cross-origin')
        .set('Access-Control-Allow-Origin', '*')
        .type(type)
        .send(content);
    });
  }
  return router;
}
