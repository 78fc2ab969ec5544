import { describe, expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { startProcess } from '../support/process.js';

const KEY = 'a-key-for-the-shutdown-test-of-32-characters';
const environment = { NOTIFY_KEYS: KEY, JWT_SECRET: KEY, JOURNAL: 'disk' };

/** A server that drains slowly: it closes one client now, the others later. */
async function draining(clients: number) {
  const server = await startProcess({ ...environment, DRAIN_SECONDS: '600' });
  const url = `${server.url.replace('http', 'ws')}/ws?room=public.a`;
  const connected = await Promise.all(Array.from({ length: clients }, () => connect(url)));
  const exited = server.stop('SIGTERM');
  await Promise.race(connected.map(({ closed }) => closed));
  return { server, connected, exited, url };
}

describe('SIGTERM', () => {
  it('takes nothing new, says so, and keeps those who have not been shown out', async () => {
    const { server, connected, url } = await draining(3);
    const ready = await fetch(`${server.url}/health/ready`);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toEqual({ status: 'draining' });
    const refused = await fetch(`${server.url}/notify`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      body: '{"room":"public.a","event":"e"}',
    });
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
    await expect(connect(url)).rejects.toThrow('503');
    expect(connected.filter(({ socket }) => socket.readyState === socket.OPEN)).toHaveLength(2);
  });

  it('twice ends it at once', async () => {
    const { server, connected, exited } = await draining(3);
    await server.stop('SIGTERM');
    expect(await exited).toBe(1);
    expect((await Promise.all(connected.map(({ closed }) => closed))).map(({ code }) => code).sort()).toEqual(
      [1006, 1006, 4400],
    );
  });
});
