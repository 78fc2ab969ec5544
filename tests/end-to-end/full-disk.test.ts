import { execFileSync } from 'node:child_process';
import { expect, it } from '@jest/globals';
import { startProcess } from '../support/process.js';
import { describeWith } from '../support/requires.js';
import { InsistentPublisher, ResumingListener } from '../support/resuming.js';

const KEY = 'a-key-for-the-full-disk-of-32-characters';
const environment = { NOTIFY_KEYS: KEY, JWT_SECRET: KEY, JOURNAL: 'disk' };
// For a process, a disk is full if a file may not grow: 1 MiB here. The process ignores the signal for it.
const FULL_AT_1_MIB = ['sh', '-c', `trap '' XFSZ; ulimit -S -f 2048; exec "$0" "$@"`];

describeWith(['prlimit'], 'a full disk', () => {
  it('refuses what it cannot keep, keeps the connections, and goes on by itself once there is room', async () => {
    const server = await startProcess(environment, undefined, FULL_AT_1_MIB);
    const listener = new ResumingListener(() => `${server.url.replace('http', 'ws')}/ws?room=public.full`);
    await listener.until(({ connections }) => connections > 0);
    const post = (data: string) =>
      fetch(`${server.url}/notify`, {
        method: 'POST',
        headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
        body: JSON.stringify({ room: 'public.full', event: 'e', data, key: data.slice(0, 20) }),
      });
    const ready = () => fetch(`${server.url}/health/ready`);

    const accepted: string[] = [];
    let refused: Response | undefined;
    for (let number = 0; refused === undefined; number++) {
      const answer = await post(`${number} ${'x'.repeat(50_000)}`);
      if (answer.status === 200) accepted.push(String(number));
      else refused = answer;
      expect(number).toBeLessThan(50);
    }
    expect(accepted.length).toBeGreaterThan(3);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(await refused.json()).toMatchObject({ code: 'unavailable' });
    expect((await ready()).status).toBe(503);
    expect((await fetch(`${server.url}/health/live`)).status).toBe(200);

    execFileSync('prlimit', ['--pid', String(server.pid), '--fsize=unlimited']);
    await new InsistentPublisher(() => server.url, KEY).publish('public.full', 'room again');
    expect((await ready()).status).toBe(200);
    await listener.until(({ heard }) => heard.at(-1)?.data === 'room again');
    expect(listener.heard.map(({ data }) => data.split(' ')[0])).toEqual([...accepted, 'room']);
    expect(listener.connections).toBe(1);
    expect(server.output()).toContain('the journal cannot write');
    expect(server.output()).toContain('the journal can write again');
  });
});
