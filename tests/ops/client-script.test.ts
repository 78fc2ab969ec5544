import { describe, expect, it } from '@jest/globals';
import request from 'supertest';
import { startServer } from '../support/server.js';

describe('the browser client', () => {
  it.each([
    ['/client.js', 'text/javascript', 'globalThis'],
    ['/client.mjs', 'text/javascript', 'export{'],
    ['/client.d.ts', 'text/plain', 'export declare function postroom('],
  ])('is served at %s, for pages of any origin', async (path, type, content) => {
    const server = await startServer();
    const { headers, text } = await request(server.url).get(path).expect(200);
    expect(headers).toMatchObject({
      'content-type': `${type}; charset=utf-8`,
      'cache-control': 'public, max-age=3600',
      'cross-origin-resource-policy': 'cross-origin',
      'access-control-allow-origin': '*',
    });
    expect(text).toContain(content);
    await request(server.url).get(path).set('If-None-Match', String(headers.etag)).expect(304);
  });
});
