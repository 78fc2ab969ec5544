import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Router } from 'express';
import helmet from 'helmet';
import { readClient } from './client-script.js';

/** `GET /` in development: an HTML file that joins a public room with the browser client and sends notifications. */
export function pageRouter(): Router {
  const client = hashOf(readClient('postroom.global.js'));
  const html = readFileSync(new URL('page.html', import.meta.url), 'utf8').replace(
    'src="/client.js"',
    // Browsers keep the client for an hour. They would refuse an older client than the page's.
    `src="/client.js?${client}" integrity="${client}"`,
  );
  const inline = (element: string) => hashOf(html.split(`<${element}>`)[1]?.split(`</${element}>`)[0] ?? '');
  const policy = helmet.contentSecurityPolicy({
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: [`'${client}'`, `'${inline('script')}'`],
      styleSrc: [`'${inline('style')}'`],
      imgSrc: ['data:'],
      // In some browsers 'self' does not include ws: and wss: of the same host.
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

/** Allows only this content: in a policy (CSP3 §2.3.1, §8.4), and as `integrity`. */
function hashOf(content: string | Buffer): string {
  return `sha256-${createHash('sha256').update(content).digest('base64')}`;
}
