import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { connect, type TestClient, token } from '../support/client.js';
import { untilReport } from '../support/health.js';
import { describeWith, type Program } from '../support/requires.js';
import { KEY, startServer, type TestServer } from '../support/server.js';

/** One way in, with the broker behind it running. */
export interface Way {
  /** The settings of the server. */
  readonly settings: Readonly<Record<string, string>>;
  /** Sends a body as a backend does. Resolves when the backend need not care about it any more. */
  send(body: string | Buffer, server: TestServer): Promise<void>;
  /** Resolves to so many dead letters, oldest first. Undefined if the bridge keeps no dead letters. */
  deadLetters?(count: number): Promise<{ body: string; reason: string }[]>;
  /** Changes to a new queue, stream or topic at the same broker, for the next test. */
  renew(): Promise<void>;
  close(): Promise<void>;
}

export interface SourceTraits {
  /** The name in the health report. */
  readonly name: string;
  readonly needs: readonly Program[];
  /** Whether messages that are sent while the server is down arrive later. */
  readonly keeps: boolean;
  /** Whether the sender gets an answer at once if the journal cannot write. */
  readonly answers?: boolean;
}

const BROKER_TIMEOUT_MS = 90_000;
const directories: string[] = [];

/** What README.md and docs/bridges.md promise for every way in. The tests of each way in run it. */
export function sourceContract(traits: SourceTraits, open: () => Promise<Way>): void {
  const { name } = traits;

  describeWith([...traits.needs], `notifications that come by ${name}`, () => {
    let way: Way;
    beforeAll(async () => {
      way = await open();
    }, BROKER_TIMEOUT_MS);
    afterEach(() => way.renew());
    afterAll(async () => {
      await way.close();
      for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
    });

    async function start(settings: Record<string, string> = {}) {
      const server = await startServer({ ...way.settings, ...settings });
      await untilReport(server, ({ sources }) => sources[name]?.connected === true);
      const send = (body: unknown) => way.send(asBody(body), server);
      return { server, send };
    }
    async function join(server: TestServer, query = '?room=public.a') {
      const client = await connect(server.ws(query));
      await client.nextOf('subscribed');
      return client;
    }

    it('are heard, as they were sent', async () => {
      const { server, send } = await start();
      const client = await join(server);
      await send('{"room":"public.a","event":"paid ✓","data":{"b":1.0,"a":12345678901234567890,"c":"付款"}}');
      const text = await client.nextText();
      expect(text).toContain('"data":{"b":1.0,"a":12345678901234567890,"c":"付款"}');
      expect(JSON.parse(text)).toMatchObject({ room: 'public.a', event: 'paid ✓' });
    });

    it('reach each connection once, whichever of its addresses they name, and not the one that is left out', async () => {
      const { server, send } = await start();
      const query = `?room=public.a&token=${token({ sub: '42' })}`;
      const client = await connect(server.ws(query));
      await client.nextOf('subscribed');
      const other = await connect(server.ws('?room=public.a'));
      const { connection } = await other.nextOf('welcome');
      await other.nextOf('subscribed');
      await send({ rooms: ['public.a', 'public.b'], user: 42, event: 'one', except: [connection] });
      await send({ everyone: true, event: 'two' });
      expect(await client.next()).toMatchObject({ event: 'one' });
      expect(await client.next()).toMatchObject({ event: 'two' });
      expect(await other.next()).toMatchObject({ event: 'two' });
      await client.quiet();
    });

    it('may be an array, a batch', async () => {
      const { server, send } = await start();
      const client = await join(server);
      await send(numbered(3));
      expect(await dataOf(client, 3)).toEqual([0, 1, 2]);
    });

    it('keep their order', async () => {
      const { server, send } = await start();
      const client = await join(server);
      for (const notification of numbered(300)) await send(notification);
      expect(await dataOf(client, 300)).toEqual(range(300));
      await untilReport(server, ({ sources }) => sources[name]?.taken === 300);
    });

    it('share one space of idempotency keys with all the others', async () => {
      const { server, send } = await start();
      const client = await join(server);
      const body = { room: 'public.a', event: 'e' };
      const first = await server.notify({ ...body, data: 1, key: 'over HTTP first' });
      await send({ ...body, data: 2, key: 'over HTTP first' });
      await send({ ...body, data: 3, key: `over ${name} first` });
      expect(await client.next()).toMatchObject({ id: first.id, data: 1 });
      const own = await client.next();
      expect(own).toMatchObject({ data: 3 });
      const again = await server.notify({ ...body, data: 4, key: `over ${name} first` });
      expect(again).toEqual({ id: own.id, connections: 0, duplicate: true });
      await client.quiet();
    });

    it('are refused with a key that stands for something else, and told the first id', async () => {
      const { server, send } = await start();
      const client = await join(server);
      const first = await server.notify({ room: 'public.a', event: 'e', key: 'k' });
      const other = { room: 'public.a', event: 'other', key: 'k' };
      await send([other, { room: 'public.a', event: 'good' }]);
      await send(other);
      expect(await client.next()).toMatchObject({ event: 'e' });
      expect(await client.next()).toMatchObject({ event: 'good' });
      await untilReport(server, ({ sources }) => sources[name]?.refused === 2);
      await client.quiet();
      const deadLetters = (await way.deadLetters?.(2)) ?? [];
      for (const { body, reason } of deadLetters) {
        expect([other, [other]]).toContainEqual(JSON.parse(body));
        expect(reason).toContain(first.id);
      }
    });

    it('that are wrong are counted, told with the reason, and stop nothing', async () => {
      const { server, send } = await start();
      const client = await join(server);
      const wrong = [
        'not JSON',
        '{"rom":"public.a","event":"e"}',
        '{"event":"e","ttl":1}',
        '"just a text"',
        JSON.stringify({ room: 'public.a', event: 'e', data: 'x'.repeat(200_000) }),
      ];
      for (const body of wrong) await send(body);
      await send(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]));
      await send({ room: 'public.a', event: 'good', data: 1 });
      expect(await client.next()).toMatchObject({ event: 'good' });
      const report = await untilReport(server, ({ sources }) => sources[name]?.taken === 1);
      expect(report.sources[name]).toMatchObject({ connected: true, taken: 1, refused: 6 });
      expect(report.status).toBe('ok');
      if (traits.answers) return;
      expect(report.sources[name]?.lastError?.reason).toMatch(/UTF-8/);
      const warnings = server.logged.filter(({ msg }) => msg === 'a message was refused');
      expect(warnings).toHaveLength(6);
      expect(warnings[1]).toMatchObject({
        source: name,
        reason: expect.stringMatching(/rom.*did you mean room/),
      });
      if (way.deadLetters === undefined) return;
      const dead = await way.deadLetters(6);
      expect(dead.slice(0, 5).map(({ body }) => body)).toEqual(wrong);
      expect(dead).toHaveLength(6);
      expect(dead[1]?.reason).toMatch(/did you mean room/);
      expect(dead[4]?.reason).toMatch(/limit/);
    });

    it('of which one in a batch is wrong: the others are sent', async () => {
      const { server, send } = await start();
      const client = await join(server);
      const [one, two, three] = numbered(3);
      await send([one, { ...two, ttl: -1 }, three]);
      expect(await dataOf(client, 2)).toEqual([0, 2]);
      const { sources } = await untilReport(server, report => report.sources[name]?.refused === 1);
      expect(sources[name]).toMatchObject({ taken: 2, refused: 1 });
      if (way.deadLetters === undefined) return;
      const dead = await way.deadLetters(1);
      expect(dead).toEqual([
        { body: JSON.stringify([{ ...two, ttl: -1 }]), reason: expect.stringMatching(/ttl/) },
      ]);
    });

    if (traits.answers) return;

    it('wait while the journal cannot write, and come by themselves when it can again', async () => {
      const directory = newDirectory();
      const { server, send } = await start({ JOURNAL: 'disk', DATA_DIR: directory });
      const client = await join(server);
      await send({ room: 'public.a', event: 'counted', data: -1 });
      expect(await dataOf(client, 1)).toEqual([-1]);
      const [file, away] = [joinPath(directory, 'journal.lmdb'), joinPath(directory, 'away')];
      renameSync(file, away);
      await untilReport(server, ({ journal }) => !journal.available);
      for (const notification of numbered(50)) await send(notification);
      const stuck = await untilReport(server, ({ sources }) =>
        /journal/.test(sources[name]?.lastError?.reason ?? ''),
      );
      expect(stuck.sources[name]).toMatchObject({ taken: 1 });
      expect(stuck.status).toBe('degraded');
      renameSync(away, file);
      expect(await dataOf(client, 50)).toEqual(range(50));
      await client.quiet();
    });

    if (!traits.keeps) return;

    it('that are sent while the server is down come when it is back, each once', async () => {
      const settings = { JOURNAL: 'disk', DATA_DIR: newDirectory() };
      const first = await start(settings);
      const client = await join(first.server);
      for (const notification of numbered(20)) await first.send(notification);
      expect(await dataOf(client, 20)).toEqual(range(20));
      const { id } = await first.server.notify({ room: 'public.a', event: 'last before' });
      await first.server.stop();
      for (const notification of numbered(20)) await first.send(notification);
      const second = await start(settings);
      const back = await connect(second.server.ws(`?room=public.a&since=${id}`));
      await back.nextOf('subscribed');
      expect(await dataOf(back, 20)).toEqual(range(20));
      await back.quiet();
    });
  });
}

/** Headers with the key of the test server. */
export const WITH_KEY = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };

function asBody(body: unknown): string | Buffer {
  return typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
}

function numbered(count: number) {
  return range(count).map(data => ({ room: 'public.a', event: 'counted', data }));
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

async function dataOf(client: TestClient, count: number): Promise<unknown[]> {
  const heard: unknown[] = [];
  while (heard.length < count) heard.push((await client.nextOf('notification')).data);
  return heard;
}

function newDirectory(): string {
  const directory = mkdtempSync(joinPath(tmpdir(), 'source-'));
  directories.push(directory);
  return directory;
}
