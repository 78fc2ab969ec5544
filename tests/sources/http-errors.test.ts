import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { type Logger, pino } from 'pino';
import request from 'supertest';
import { PublisherKeys } from '../../src/auth/keys.js';
import { Postroom } from '../../src/core/postroom.js';
import type { Journal } from '../../src/journal/journal.js';
import { Refusals } from '../../src/model/refusals.js';
import { notificationParser } from '../../src/model/notification.js';
import { Problem } from '../../src/model/problem.js';
import { NotifyEndpoint } from '../../src/sources/http.js';
import { connect } from '../support/client.js';
import { expectProblem, FORM, post, postForm } from '../support/notify.js';
import { KEY, startServer } from '../support/server.js';
import { PLAIN } from '../support/core.js';
import { localCluster } from '../support/cluster.js';

function rethrow(error: unknown): never {
  throw error;
}

const BODY = { room: 'public.a', event: 'e' };
const WRONG = { authorization: 'Bearer not-one-of-the-keys-of-this-server' };

describe('an answer that is no success', () => {
  it.each([
    ['no header', ''],
    ['a wrong key', WRONG.authorization],
    ['half of the key', `Bearer ${KEY.slice(0, 16)}`],
    ['the key and more', `Bearer ${KEY}x`],
    ['two keys', `Bearer ${KEY} ${KEY}`],
    ['no key', 'Bearer '],
    ['the key without a scheme', KEY],
    ['another scheme', `Basic ${Buffer.from(`x:${KEY}`).toString('base64')}`],
  ])('is 401 unauthorized for %s', async (_what, authorization) => {
    const server = await startServer();
    const response = await post(server, BODY, { authorization });
    const { detail } = expectProblem(response, 401, 'unauthorized');
    expect(response.headers['www-authenticate']).toMatch(/^Bearer\b/);
    expect(detail).toMatch(/Authorization.*NOTIFY_KEYS|NOTIFY_KEYS.*Authorization/s);
    expect(JSON.stringify([response.body, server.logged])).not.toContain(KEY.slice(0, 16));
  });

  it.each(['get', 'head', 'put', 'patch', 'delete', 'options'] as const)(
    'is 405 method_not_allowed for %s',
    async method => {
      const server = await startServer();
      const response = await request(server.url)[method]('/notify');
      expect(response.status).toBe(405);
      expect(response.headers.allow).toBe('POST');
      if (method !== 'head')
        expect(expectProblem(response, 405, 'method_not_allowed').detail).toMatch(/POST/);
    },
  );

  it('is 404 not_found for other paths, and says where to post', async () => {
    const server = await startServer();
    for (const path of ['/notify/', '/notification', '/Notify', '/notify.php']) {
      const response = await request(server.url).post(path).set('authorization', `Bearer ${KEY}`).send(BODY);
      expect(expectProblem(response, 404, 'not_found').detail).toMatch(/\/notify/);
    }
  });

  it.each([
    ['text/plain', { 'content-type': 'text/plain' }],
    ['multipart/form-data', { 'content-type': 'multipart/form-data; boundary=x' }],
    ['application/jsonp', { 'content-type': 'application/jsonp' }],
    ['another charset', { 'content-type': 'application/json; charset=iso-8859-1' }],
    ['a form of another charset', { 'content-type': `${FORM}; charset=windows-1252` }],
    ['a compressed body', { 'content-encoding': 'gzip' }],
  ])('is 415 unsupported_media_type for %s', async (_what, headers) => {
    const server = await startServer();
    const { detail } = expectProblem(await post(server, BODY, headers), 415, 'unsupported_media_type');
    expect(detail).toMatch(/application\/json|UTF-8|Content-Encoding/);
  });

  it('is 413 payload_too_large with size and limit', async () => {
    const server = await startServer();
    const response = await post(server, { ...BODY, data: 'x'.repeat(102_400) });
    expect(expectProblem(response, 413, 'payload_too_large').detail).toMatch(/\b1024\d\d\b.*\b102400\b/);
  });
});

describe('JSON that is sent as a form', () => {
  it.each(['{"room":"public.a","event":"e"}', ' [{"room":"public.a","event":"e"}]'])(
    'as curl does by default, is told apart: %s',
    async body => {
      const server = await startServer();
      const { detail } = expectProblem(await postForm(server, body), 415, 'unsupported_media_type');
      expect(detail).toMatch(/is JSON.*form.*curl.*Content-Type: application\/json/);
    },
  );
});

describe('many faults at once', () => {
  it('are told up to ten, and looked for no further', async () => {
    const server = await startServer();
    const unknown = Object.fromEntries(Array.from({ length: 8000 }, (_, n) => [`x${n}`, 1]));
    const bodies = [
      { ...BODY, ...unknown },
      { event: 'e', rooms: Array(5000).fill('not a room') },
      { event: 'e', connections: Array(8000).fill('x'), users: Array(8000).fill('') },
    ];
    for (const body of bodies) {
      const { errors } = expectProblem(await post(server, body), 400, 'invalid_notification');
      expect(errors).toHaveLength(10);
    }
    const form = Array.from({ length: 8000 }, () => 'event=a').join('&');
    expect(expectProblem(await postForm(server, form), 400, 'invalid_notification').errors).toHaveLength(10);
  });

  it('names more than 25,000 names in a list as one', async () => {
    const server = await startServer({ MAX_NOTIFICATION_BYTES: '1000000' });
    const { errors } = expectProblem(
      await post(server, { event: 'e', users: [...Array(25_001).keys()] }),
      400,
      'invalid_notification',
    );
    expect(errors).toEqual([{ path: 'users', message: 'has 25001 user ids; the most is 25000' }]);
    await post(server, { event: 'e', users: [...Array(25_000).keys()] }).expect(200);
  });
});

describe('wrong keys', () => {
  it('are 401 however many there were, and a right one passes', async () => {
    const server = await startServer();
    for (let i = 0; i < 50; i++) await post(server, BODY, WRONG).expect(401);
    await post(server, BODY).expect(200);
  });
});

describe('what goes wrong on our side', () => {
  const closing: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0)) await close();
  });

  /** The endpoint on a journal that fails when the test says so. */
  async function failing(
    error: Error,
    { start = true } = {},
  ): Promise<{ url: string; logged: string[]; notify: NotifyEndpoint }> {
    const journal: Journal = {
      kind: 'failing',
      append: () => Promise.reject(error),
      firstWith: async () => undefined,
      follow: async () => '0-0',
      now: Date.now,
      newest: async () => '0-0',
      status: () => ({ available: false, lagMs: 0 }),
      close: async () => undefined,
    };
    const retention = { seconds: 600, bytes: 1e6 };
    const postroom = new Postroom({
      journal,
      cluster: localCluster(),
      retention,
      maxBufferedBytes: 1e6,
      isShared: false,
      ...PLAIN,
      failed: rethrow,
    });
    if (start) await postroom.start();
    const logged: string[] = [];
    const log: Logger = pino({}, { write: line => void logged.push(line) });
    const notify = new NotifyEndpoint({
      postroom,
      parse: notificationParser({ maxBytes: 1000, retentionSeconds: 600, now: Date.now }),
      keys: new PublisherKeys([KEY]),
      maxNotificationBytes: 1000,
      callerOf: () => 'test',
      refusals: new Refusals(log, Date.now),
      log,
    });
    const server = createServer((incoming, response) => notify.handle(incoming, response));
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    closing.push(async () => {
      await postroom.stop();
      server.close();
      server.closeAllConnections();
    });
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, logged, notify };
  }

  it('is 500 internal: the log knows what, the answer does not', async () => {
    const endpoint = await failing(new Error('disk /srv/secret is on fire'));
    const response = await post(endpoint, BODY);
    expectProblem(response, 500, 'internal');
    expect(JSON.stringify([response.body, response.headers])).not.toMatch(/fire|secret|Error/);
    expect(endpoint.logged.join()).toContain('disk /srv/secret is on fire');
  });

  it('is 503 unavailable with Retry-After before the start', async () => {
    const endpoint = await failing(new Error('not reached'), { start: false });
    const response = await post(endpoint, BODY);
    expectProblem(response, 503, 'unavailable');
    expect(response.headers['retry-after']).toMatch(/^\d+$/);
  });

  it('is 503 unavailable, as the journal says it, also in a batch', async () => {
    const problem = new Problem('unavailable', 'The disk is full.', { headers: { 'Retry-After': '7' } });
    const endpoint = await failing(problem);
    const response = await post(endpoint, BODY);
    expect(expectProblem(response, 503, 'unavailable').detail).toBe('The disk is full.');
    expect(response.headers['retry-after']).toBe('7');
    const batch = await post(endpoint, [BODY, BODY]);
    expect(batch.status).toBe(207);
    expect(batch.body.results).toEqual(
      Array(2).fill({ error: expect.objectContaining({ status: 503, code: 'unavailable' }) }),
    );
    expect(endpoint.notify).toMatchObject({ taken: 0, refused: 3 });
  });
});

describe('a server that is stopping', () => {
  it('answers 503 unavailable with Retry-After', async () => {
    const server = await startServer();
    const client = await connect(server.ws());
    await client.next();
    // It does not read the closing handshake, so the draining waits for it.
    client.socket.pause();
    const stopped = server.stop();
    const response = await post(server, BODY);
    client.socket.resume();
    expectProblem(response, 503, 'unavailable');
    expect(response.headers['retry-after']).toMatch(/^\d+$/);
    await stopped;
    expect(await client.closed).toMatchObject({ code: 4400 });
  });
});
