import type { IncomingHttpHeaders } from 'node:http';
import { expect } from '@jest/globals';
import request, { type Test } from 'supertest';
import { KEY } from './server.js';

export const FORM = 'application/x-www-form-urlencoded';

/** Posts a body, as it is or as JSON, to /notify with the key of the test server. */
export function post(
  server: { readonly url: string },
  body: string | object,
  headers: Readonly<Record<string, string>> = {},
): Test {
  return request(server.url)
    .post('/notify')
    .set({ authorization: `Bearer ${KEY}`, 'content-type': 'application/json', ...headers })
    .send(typeof body === 'string' ? body : JSON.stringify(body));
}

export function postForm(server: { readonly url: string }, form: string): Test {
  return post(server, form, { 'content-type': FORM });
}

/** Checks that an answer is the contract's `application/problem+json`. Returns its body. */
export function expectProblem(
  response: { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: unknown },
  status: number,
  code: string,
): { detail: string; errors?: { path: string; message: string }[] } {
  expect(response.body).toMatchObject({ status, code });
  expect(response.status).toBe(status);
  expect(response.headers['content-type']).toMatch(/^application\/problem\+json(;|$)/);
  const body = response.body as { detail: string };
  expect(Object.keys(body)).toEqual(expect.arrayContaining(['type', 'title', 'status', 'detail', 'code']));
  expect(body.detail).toMatch(/^\S.*\S$/);
  return body;
}
