import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Router } from 'express';
import helmet from 'helmet';

/** `GET /` in development: one HTML file that joins a public room and sends test notifications. */
export function pageRouter(): Router {
  const html = readFileSync(new URL('page.html', import.meta.url), 'utf8');
  const policy = helmet.contentSecurityPolicy({
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: [hashOf(html, 'script')],
      styleSrc: [hashOf(html, 'style')],
      imgSrc: ['data:'],
      // Not every browser counts ws: and wss: of the same host as 'self'.
      connectSrc: ["'self'", 'ws:', 'wss:'],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
    },
  });
  return Router().get('/', policy, (_request, response) => {
    response.type('html').send(html);
  });
}

/** The CSP source that allows just the one inline element of this name (CSP3 §2.3.1). */
function hashOf(html: string, element: string): string {
  const text = html.split(`<${element}>`)[1]?.split(`</${element}>`)[0];
  if (text === undefined) throw new Error(`page.html has no <${element}>`);
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
