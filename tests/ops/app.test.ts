import { createHash } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import request from 'supertest';
import { expectProblem } from '../support/notify.js';
import { startServer } from '../support/server.js';

const PRODUCTION = { NODE_ENV: 'production' };

describe('every page', () => {
  it.each(['/health', '/', '/nowhere'])('has the headers of helmet: %s', async path => {
    const server = await startServer();
    const { headers } = await request(server.url).get(path);
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'SAMEORIGIN',
      'referrer-policy': 'no-referrer',
      'content-security-policy': expect.stringContaining('default-src'),
    });
    expect(headers).not.toHaveProperty('x-powered-by');
  });

  it.each(['/nowhere', '/health/nowhere', '/connection', '/users', '/users/alice/rooms', '/page.html'])(
    'that is not there is 404 not_found: %s',
    async path => {
      const server = await startServer();
      const { detail } = expectProblem(await request(server.url).get(path), 404, 'not_found');
      expect(detail).toContain(path);
      expect(detail).toMatch(/\/notify.*\/ws.*\/health/);
    },
  );

  it.each([
    ['post', '/', /backends POST to \/notify/],
    ['post', '/notify/', /did you mean \/notify\?/],
    ['post', '/notify/notify', /did you mean \/notify\?/],
    ['get', '/', /development only/],
  ] as const)('that is not there says where to go: %s %s', async (method, path, hint) => {
    const server = await startServer(PRODUCTION);
    const { detail } = expectProblem(await request(server.url)[method](path), 404, 'not_found');
    expect(detail).toMatch(hint);
  });

  it('that is asked for in broken percent-encoding is refused, and no stack is shown', async () => {
    const server = await startServer();
    const response = await request(server.url).delete('/connections/%E0%A4%A');
    expect(expectProblem(response, 400, 'invalid_request').detail).toMatch(/percent-encoded/);
    expect(response.text).not.toMatch(/at .*\.[jt]s/);
  });
});

describe('the page for trying things out', () => {
  it('is there in development, and may run nothing but what it brings', async () => {
    const server = await startServer();
    const response = await request(server.url).get('/');
    expect(response.status).toBe(200);
    expect(response.headers['content-type']).toMatch(/^text\/html/);
    const policy = String(response.headers['content-security-policy']).split(';');
    const sources = (name: string) =>
      policy.find(directive => directive.startsWith(`${name} `))?.slice(name.length + 1);
    expect(sources('default-src')).toBe("'none'");
    const [client] = /sha256-[\w+/]{43}=/.exec(String(sources('script-src'))) ?? [];
    expect(sources('script-src')).toMatch(/^'sha256-[\w+/]{43}=' 'sha256-[\w+/]{43}='$/);
    expect(response.text).toContain(`<script src="/client.js?${client}" integrity="${client}"></script>`);
    const script = await request(server.url).get(`/client.js?${client}`).expect(200);
    expect(`sha256-${createHash('sha256').update(script.text).digest('base64')}`).toBe(client);
    expect(sources('style-src')).toMatch(/^'sha256-[\w+/]{43}='$/);
    expect(sources('connect-src')).toBe("'self' ws: wss:");
    for (const name of ['base-uri', 'form-action', 'frame-ancestors']) expect(sources(name)).toBe("'none'");
    expect(String(policy)).not.toMatch(/unsafe|\*/);
    // None of these runs under this policy.
    expect(/\son\w+="|\sstyle=|<script (?!src="\/client\.js\?)/.exec(response.text)).toBeNull();
  });

  it('is not there in production', async () => {
    const server = await startServer(PRODUCTION);
    const response = await request(server.url).get('/');
    expect(expectProblem(response, 404, 'not_found').detail).toMatch(/WebSocket/);
  });

  it('never shows the key of the server', async () => {
    const server = await startServer();
    const { text } = await request(server.url).get('/');
    expect(text).not.toContain('a-key-for-tests');
  });
});

describe('GET /ws without Upgrade', () => {
  it('says that a proxy took the header, and the lines of nginx that pass it on', async () => {
    const server = await startServer();
    const { detail } = expectProblem(await request(server.url).get('/ws'), 404, 'not_found');
    expect(detail).toMatch(/proxy/);
    expect(detail).toContain('proxy_set_header Upgrade $http_upgrade;');
    expect(detail).toContain('proxy_http_version 1.1;');
  });
});
