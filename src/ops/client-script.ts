import { readFileSync } from 'node:fs';
import { Router } from 'express';

const MAX_AGE_SECONDS = 3600;

const SCRIPT = 'text/javascript';

/** The browser client as a plain script, as a module, and its types. Made by `npm run build`. */
const FILES = {
  '/client.js': { name: 'postroom.global.js', type: SCRIPT },
  '/client.mjs': { name: 'postroom.js', type: SCRIPT },
  // TypeScript has no media type, and many programs take ".ts" for a video.
  '/client.d.ts': { name: 'postroom.d.ts', type: 'text/plain' },
};

export const readClient = (name: string) =>
  readFileSync(new URL(`../../dist/client/${name}`, import.meta.url));

/**
 * `GET /client.js`, `/client.mjs` and `/client.d.ts`. Pages of any origin may load them. Browsers keep them for an
 * hour, then revalidate them by ETag.
 */
export function clientScriptRouter(): Router {
  const router = Router();
  for (const [path, { name, type }] of Object.entries(FILES)) {
    const content = readClient(name);
    router.get(path, (_request, response) => {
      response
        .set('Cache-Control', `public, max-age=${MAX_AGE_SECONDS}`)
        // A page seldom has the same origin as this server, and helmet's default would block the script.
        .set('Cross-Origin-Resource-Policy', 'cross-origin')
        .set('Access-Control-Allow-Origin', '*')
        .type(type)
        .send(content);
    });
  }
  return router;
}
