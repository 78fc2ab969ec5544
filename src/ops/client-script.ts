import { readFileSync } from 'node:fs';
import { Router } from 'express';

const MAX_AGE_SECONDS = 3600;

/** Where the browser client is served: as a plain script, and as a module. Made by `npm run build`. */
const SCRIPTS = { '/client.js': 'postroom.global.js', '/client.mjs': 'postroom.js' };

/** `GET /client.js` and `/client.mjs`: for pages of any origin, kept by browsers for an hour and revalidated by ETag. */
export function clientScriptRouter(): Router {
  const router = Router();
  for (const [path, file] of Object.entries(SCRIPTS)) {
    const script = readFileSync(new URL(`../../dist/client/${file}`, import.meta.url));
    router.get(path, (_request, response) => {
      response
        .set('Cache-Control', `public, max-age=${MAX_AGE_SECONDS}`)
        // A page is seldom of the same origin as this server; helmet would keep the script from it.
        .set('Cross-Origin-Resource-Policy', 'cross-origin')
        .set('Access-Control-Allow-Origin', '*')
        .type('text/javascript')
        .send(script);
    });
  }
  return router;
}
