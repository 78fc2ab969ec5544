import { describe, expect, it } from '@jest/globals';
import { connect, type TestClient } from '../support/client.js';
import { expectProblem, postForm } from '../support/notify.js';
import { startServer, type TestServer } from '../support/server.js';

describe('a form', () => {
  async function listener(server: TestServer): Promise<TestClient> {
    const client = await connect(server.ws('/?room=public.a'));
    await client.nextOf('subscribed');
    return client;
  }

  it.each([
    'room=public.a&event=e',
    'rooms[]=public.b&rooms[]=public.a&event=e',
    'rooms%5B0%5D=public.b&rooms%5B1%5D=public.a&event=e',
    'rooms=public.b&rooms=public.a&event=e',
    'rooms=public.a&event=e',
    'everyone=1&event=e',
    'everyone=true&event=e',
    'everyone=0&room=public.a&event=e',
    'everyone=false&room=public.a&event=e',
    'everyone=&room=public.a&event=e',
    'user=1&users[]=2&connection=1.1&connections[]=2.2&except=3.3&room=public.a&event=e&key=k&ttl=60',
  ])('reaches its listener: %s', async form => {
    const server = await startServer();
    const client = await listener(server);
    const response = await postForm(server, form);
    expect(response.body).toMatchObject({ connections: 1, duplicate: false });
    expect(await client.next()).toMatchObject({ event: 'e', data: null });
    await client.quiet();
  });

  it.each([
    ['data=%7B%22a%22%3A%5B1.0%2C9007199254740993%5D%7D', '{"a":[1.0,9007199254740993]}'],
    ['data=5', '5'],
    ['data=null', 'null'],
    ['data=%22quoted%22', '"quoted"'],
    ['data=plain+text+%26+more', '"plain text & more"'],
    ['data=%7Bbroken', '"{broken"'],
    ['data=', '""'],
    ['data=%E4%BB%98%E6%AC%BE', '"付款"'],
  ])('takes %s as %s', async (field, json) => {
    const server = await startServer();
    const client = await listener(server);
    await postForm(server, `room=public.a&event=e&${field}`).expect(200);
    expect((await client.nextText()).endsWith(`"data":${json}}`)).toBe(true);
  });

  it('leaves out the connections in except[]', async () => {
    const server = await startServer();
    const client = await connect(server.ws('/?room=public.a'));
    const { connection } = await client.next();
    await client.next();
    const response = await postForm(server, `room=public.a&event=e&except[]=${connection}`);
    expect(response.body).toMatchObject({ connections: 0 });
  });

  it('carries a key and a ttl', async () => {
    const server = await startServer();
    const form = 'room=public.a&event=e&key=k&ttl=0';
    const first = await postForm(server, form);
    const again = await postForm(server, form);
    expect(again.body).toMatchObject({ id: first.body.id, duplicate: true });
    const { errors } = expectProblem(
      await postForm(server, 'room=a&event=e&ttl=601'),
      400,
      'invalid_notification',
    );
    expect(errors).toEqual([{ path: 'ttl', message: expect.stringMatching(/0 to 600/) }]);
  });

  it.each([
    ['room=a&room=b&event=e', 'room', /twice/],
    ['room=a&event=e&event=f', 'event', /twice/],
    ['room[]=a&event=e', 'room[]', /not a list/],
    ['room=a&event=e&data[x]=1&data[y]=2', 'data[x]', /json_encode/],
    ['room=a&event=e&ttl=-1', 'ttl', /whole number/],
    ['room=a&event=e&ttl=1e2', 'ttl', /whole number/],
    ['room=a&event=e&ttl=', 'ttl', /whole number/],
    ['everyone=yes&event=e', 'everyone', /true or false/],
    ['rom=a&event=e', 'rom', /did you mean room/],
    ['room=a&event=e&__proto__=1', '__proto__', /not a field/],
    ['room=a&event=e&constructor=1', 'constructor', /not a field/],
    ['rooms[]=a&rooms[]=b+c&event=e', 'rooms[1]', /room name/],
    ['', 'event', /^is missing$/],
  ])('is refused with the field named: %s', async (form, path, message) => {
    const server = await startServer();
    const { errors } = expectProblem(await postForm(server, form), 400, 'invalid_notification');
    expect(errors?.[0]).toEqual({ path, message: expect.stringMatching(message) });
  });

  it('with a list inside a list is refused', async () => {
    const server = await startServer();
    expectProblem(await postForm(server, 'rooms[0][name]=a&event=e'), 400, 'invalid_notification');
  });

  it('with percent-encoded bytes that are no UTF-8 is refused', async () => {
    const server = await startServer();
    expectProblem(await postForm(server, 'room=a&event=e&key=%E4'), 400, 'invalid_json');
  });

  it('with very many faults is told the first few', async () => {
    const server = await startServer();
    const response = await postForm(server, 'x&'.repeat(5000));
    const { errors } = expectProblem(response, 400, 'invalid_notification');
    expect(errors?.length).toBeLessThanOrEqual(10);
  });
});
