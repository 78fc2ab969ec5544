import { randomUUID } from 'node:crypto';
import { afterEach, beforeAll, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { RedisJournal } from '../../src/journal/redis.js';
import type { Entry } from '../../src/model/notification.js';
import type { Retention } from '../../src/model/retention.js';
import { BROKER_TIMEOUT } from '../support/broker.js';
import { startProxy } from '../support/proxy.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { describeWith } from '../support/requires.js';
import { journalContract, notification } from './journal-contract.js';

const AMPLE: Retention = { seconds: 600, bytes: 64 * 1024 * 1024 };
const stopping = new AbortController();
const log = pino({ level: process.env.DEBUG_LOG ?? 'silent' });

describeWith(['redis'], 'JOURNAL=redis', () => {
  let redis: RedisServer;
  let prefixes = 0;
  const journals: RedisJournal[] = [];
  beforeAll(async () => {
    redis = await startRedis();
  }, BROKER_TIMEOUT);

  function newPrefix(): string {
    return `test-${prefixes++}-${Math.random()}`;
  }

  function make(prefix: string, retention: Retention, url = redis.url, node: string = randomUUID()) {
    return new RedisJournal({
      node,
      url,
      prefix,
      retention,
      stopping: stopping.signal,
      log,
    });
  }

  afterEach(async () => {
    for (const journal of journals.splice(0)) await journal.close();
  });

  journalContract('redis', ({ retention }) => make(newPrefix(), retention, redis.url, 'one'), 'one');

  async function open(prefix: string, retention = AMPLE, url = redis.url) {
    const journal = make(prefix, retention, url);
    journals.push(journal);
    const delivered: Entry[] = [];
    const skipped: string[] = [];
    const floor = await journal.follow({
      deliver: entry => void delivered.push(entry),
      skipped: until => void skipped.push(until),
    });
    return { journal, delivered, skipped, floor };
  }
  const datas = (entries: readonly Entry[]) => entries.map(({ notification: { data } }) => data);

  it('is trimmed by bytes: the oldest go, their keys with them, and the point before which all is gone stays', async () => {
    const prefix = newPrefix();
    const small = { seconds: 600, bytes: 20_000 };
    const first = await open(prefix, small);
    const ids: string[] = [];
    for (let i = 0; i < 300; i++)
      ids.push((await first.journal.append(notification(String(i), { key: `k${i}` }))).id);
    const second = await open(prefix, small);
    const kept = second.delivered.length;
    expect(kept).toBeGreaterThan(20);
    expect(kept).toBeLessThan(80);
    expect(second.delivered.map(({ id }) => id)).toEqual(ids.slice(-kept));
    expect(second.floor).toBe(ids.at(-kept - 1));
    const oldestKey = `k${300 - kept}`;
    expect(await second.journal.append(notification('x', { key: oldestKey }))).toMatchObject({
      duplicate: true,
    });
    expect(await second.journal.append(notification('x', { key: 'k0' }))).toMatchObject({ duplicate: false });
  });

  it('is trimmed by age, also when nothing is appended', async () => {
    const prefix = newPrefix();
    const { journal } = await open(prefix, { seconds: 1, bytes: 1e6 });
    const { id } = await journal.append(notification('old'));
    const client = new Redis(redis.url);
    while ((await client.xlen(`{${prefix}}:journal:entries`)) > 0);
    expect(await client.hgetall(`{${prefix}}:journal:state`)).toEqual({
      floor: id,
      last: id,
      bytes: '0',
      clock: expect.stringMatching(/^\d{13}$/),
    });
    client.disconnect();
    const next = await open(prefix);
    expect(next.delivered).toEqual([]);
    expect(next.floor).toBe(id);
  });

  it('goes on with its own time where the clock of Redis is set back', async () => {
    const prefix = newPrefix();
    const { journal } = await open(prefix);
    const client = new Redis(redis.url);
    // As if the clock had been an hour ahead until now.
    const before = Date.now() + 3_600_000;
    await client.hset(`{${prefix}}:journal:state`, 'clock', before);
    while (journal.now() < before) await new Promise(resolve => setImmediate(resolve));
    const { id } = await journal.append(notification('1'));
    expect(Number(id.split('-')[0])).toBeGreaterThanOrEqual(before);
    // The nodes know how much time passes: a second of theirs is a second of the journal's.
    const later = journal.now() + 1500;
    while (Number(await client.hget(`{${prefix}}:journal:state`, 'clock')) < later);
    const next = await journal.append(notification('2'));
    const [time = 0] = next.id.split('-').map(Number);
    expect(time).toBeGreaterThanOrEqual(later);
    expect(time).toBeLessThan(later + 60_000);
    expect(await client.xlen(`{${prefix}}:journal:entries`)).toBe(2);
    client.disconnect();
  });

  it('makes room for itself in a Redis that is full, as soon as something is old enough', async () => {
    const full = await startRedis();
    if (!full.own) return;
    const client = new Redis(full.url);
    const { journal } = await open(newPrefix(), { seconds: 2, bytes: 64 * 1024 * 1024 }, full.url);
    for (let i = 0; i < 20; i++) await journal.append(notification(JSON.stringify('x'.repeat(50_000))));
    const used = /^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1];
    await client.config('SET', 'maxmemory', Number(used) - 200_000);
    await expect(journal.append(notification('1'))).rejects.toMatchObject({ code: 'unavailable' });
    const appended = async () => journal.append(notification('2')).catch(() => undefined);
    while ((await appended()) === undefined) await new Promise(resolve => setImmediate(resolve));
    client.disconnect();
    await journal.close();
    await full.stop();
  });

  it('tells a node that was away for longer than the past reaches back that it missed something', async () => {
    const prefix = newPrefix();
    const small = { seconds: 600, bytes: 4000 };
    const network = await startProxy();
    network.to(portOf(redis.url));
    const away = await open(prefix, small, `redis://127.0.0.1:${network.port}`);
    await away.journal.append(notification('before'));
    const other = await open(prefix, small);
    network.cut();
    const ids: string[] = [];
    for (let i = 0; i < 40; i++) ids.push((await other.journal.append(notification(String(i)))).id);
    network.to(portOf(redis.url));
    await until(() => away.delivered.at(-1)?.id === ids.at(-1));
    const kept = away.delivered.length - 1;
    expect(away.skipped).toEqual([ids.at(-kept - 1)]);
    expect(away.delivered.slice(1).map(({ id }) => id)).toEqual(ids.slice(-kept));
    expect(other.skipped).toEqual([]);
  });

  it('reads on where it stood when its connection breaks, without gap or double', async () => {
    const prefix = newPrefix();
    const network = await startProxy();
    network.to(portOf(redis.url));
    const away = await open(prefix, AMPLE, `redis://127.0.0.1:${network.port}`);
    const other = await open(prefix);
    const sent: string[] = [];
    const send = async (data: string) => {
      sent.push(data);
      await other.journal.append(notification(data));
    };
    for (let cut = 0; cut < 5; cut++) {
      await send(`${cut} before`);
      network.cut();
      await send(`${cut} between`);
      network.to(portOf(redis.url));
      await send(`${cut} after`);
    }
    await until(() => away.delivered.length >= sent.length);
    expect(datas(away.delivered)).toEqual(sent);
    expect(away.skipped).toEqual([]);
  });

  it('skips what another program puts into its stream, whatever that looks like', async () => {
    const prefix = newPrefix();
    const one = await open(prefix);
    const client = new Redis(redis.url);
    const entries = `{${prefix}}:journal:entries`;
    const ours = (previous: string) =>
      [
        'p',
        previous,
        'o',
        'x',
        's',
        '1',
        'w',
        '1',
        'k',
        '',
        'n',
        '[["room:a"],"e",[],null]',
        'd',
        '1',
      ] as const;
    await one.journal.append(notification('1'));
    await client.xadd(entries, '*', 'hello', 'world');
    await client.xadd(entries, '*', ...ours('garbage'));
    await client.xadd(entries, '*', ...ours(''));
    await one.journal.append(notification('2'));
    await until(() => one.delivered.length === 2);
    const two = await open(prefix);
    expect(datas(two.delivered)).toEqual(['1', '2']);
    expect(one.skipped).toEqual([]);
    client.disconnect();
  });

  it('gives ids that are newer than all that a node has delivered, also where Redis forgot those and its clock is behind', async () => {
    const prefix = newPrefix();
    const one = await open(prefix);
    const two = await open(prefix);
    const client = new Redis(redis.url);
    // As after a failover to a master that lacks the newest entry, and whose clock is a minute behind.
    const [seconds] = await client.time();
    const ahead = `${Number(seconds) * 1000 + 60_000}-0`;
    const entries = `{${prefix}}:journal:entries`;
    const fields = [
      'p',
      one.floor,
      'o',
      'gone',
      's',
      0,
      'w',
      300,
      'k',
      '',
      'n',
      '[["room:a"],"e",[],null]',
      'd',
      '1',
    ];
    await client.xadd(entries, ahead, ...fields);
    await until(() => one.delivered.length === 1 && two.delivered.length === 1);
    await client.del(entries);
    // With its next sign of life, each node reports how far it was.
    while ((await client.exists(entries)) === 0);
    client.disconnect();
    await one.journal.append(notification('2'));
    await two.journal.append(notification('3'));
    for (const { delivered } of [one, two]) {
      await until(() => delivered.length === 3);
      expect(datas(delivered)).toEqual(['1', '2', '3']);
    }
  });
});

function portOf(url: string): number {
  return Number(new URL(url).port);
}

/** Waits, turn by turn, until another process makes the condition true. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(resolve => setImmediate(resolve));
}
