import { expect } from '@jest/globals';
import request, { type Response, type Test } from 'supertest';
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
  response: Pick<Response, 'status' | 'headers' | 'body'>,
  status: number,
  code: string,
): { detail: string; errors?: { path: string; message: string }[] } {
  expect(response.body).toMatchObject({ status, code });
  expect(response.status).toBe(status);
  expect(response.headers['content-type']).toMatch(/^application\/problem\+json(;|$)/);
  expect(Object.keys(response.body)).toEqual(
    expect.arrayContaining(['type', 'title', 'status', 'detail', 'code']),
  );
  expect(response.body.detail).toMatch(/^\S.*\S$/);
  return response.body;
}
