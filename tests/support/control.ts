import { type IncomingHttpHeaders, request } from 'node:http';
import { expect } from '@jest/globals';
import { connect, type TestClient, token } from './client.js';
import { KEY, type TestServer } from './server.js';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The parsed body; empty if there was none. */
  readonly body: Record<string, unknown>;
  readonly text: string;
}

interface Call {
  /** Sent as it is if it is bytes or a text, else as JSON. */
  readonly body?: Buffer | string | object;
  /** With `authorization: undefined`, no key is sent. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
}

/** A request with the key of the test server. The path is sent byte for byte: a URL would resolve `..` in it. */
export function call(
  { url }: { readonly url: string },
  method: string,
  path: string,
  { body, headers = {} }: Call = {},
): Promise<Answer> {
  const bytes = body === undefined ? undefined : bytesOf(body);
  const all = {
    authorization: `Bearer ${KEY}`,
    ...(bytes !== undefined && { 'content-type': 'application/json', 'content-length': bytes.length }),
    ...headers,
  };
  const sent = Object.entries(all).filter(([, value]) => value !== undefined);
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { ...targetOf(url), method, path, headers: Object.fromEntries(sent), agent: false },
      response => {
        const chunks: Buffer[] = [];
        response.on('data', chunk => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = String(Buffer.concat(chunks));
          const { statusCode: status = 0, headers } = response;
          resolve({ status, headers, text, body: text === '' ? {} : JSON.parse(text) });
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(bytes);
  });
}

function bytesOf(body: Buffer | string | object): Buffer {
  if (Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

function targetOf(url: string) {
  if (url.startsWith('unix:')) return { socketPath: url.slice('unix:'.length) };
  const { hostname, port } = new URL(url);
  return { host: hostname, port };
}

/** The body of an answer that must be 200. */
export async function control(
  server: { readonly url: string },
  method: string,
  path: string,
  about: Call = {},
): Promise<Record<string, unknown>> {
  const { status, text, body } = await call(server, method, path, about);
  if (status !== 200) throw new Error(`${method} ${path}: ${status} ${text}`);
  return body;
}

/** The names of one page after the other, as long as there is a next one. `between` is called after each page. */
export async function walk(
  server: { readonly url: string },
  path: string,
  { list, name, limit }: { list: string; name: string; limit: number },
  between: (page: number) => Promise<void> | void = () => undefined,
): Promise<string[][]> {
  const pages: string[][] = [];
  for (let after: unknown; after !== null; ) {
    const behind = after === undefined ? '' : `&after=${encodeURIComponent(String(after))}`;
    const sign = path.includes('?') ? '&' : '?';
    const body = await control(server, 'GET', `${path}${sign}limit=${limit}${behind}`);
    expect(body).not.toHaveProperty('partial');
    const names = (body[list] as Record<string, string>[]).map(item => String(item[name]));
    expect(names.length).toBeLessThanOrEqual(limit);
    if (body.next !== null) expect(body.next).toBe(names.at(-1));
    pages.push(names);
    await between(pages.length);
    after = body.next;
  }
  return pages;
}

/** A client with its id, after its `welcome` and the `subscribed` of each room. */
export async function enter(
  server: TestServer,
  { claims, rooms = [] }: { claims?: object; rooms?: readonly string[] } = {},
): Promise<TestClient & { readonly id: string }> {
  const query = new URLSearchParams();
  for (const room of rooms) query.append('room', room);
  if (claims !== undefined) query.set('token', token(claims));
  const client = await connect(server.ws(`/?${query}`));
  const { connection } = await client.nextOf('welcome');
  for (const room of rooms) expect(await client.next()).toMatchObject({ type: 'subscribed', room });
  return Object.assign(client, { id: String(connection) });
}
