import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { connect } from '../support/client.js';
import { runPhp, runShell } from '../support/commands.js';
import { describeWith } from '../support/requires.js';
import { startServer } from '../support/server.js';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'socket-'));
  path = join(directory, 'postroom.sock');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const BODY = '{"room":"public.a","event":"e"}';

/** Starts a server with the socket, and a client that hears what comes. */
async function listen(settings: Record<string, string> = {}) {
  const server = await startServer({ NOTIFY_SOCKET: path, ...settings });
  const client = await connect(server.ws('?room=public.a'));
  await client.nextOf('subscribed');
  return { server, client };
}

describe('the file of NOTIFY_SOCKET', () => {
  it('lets its owner and its group in, and is gone after the stop', async () => {
    const before = process.umask(0);
    const { server } = await listen();
    expect(statSync(path).mode & 0o777).toBe(0o660);
    expect(process.umask(before)).toBe(0);
    await server.stop();
    expect(existsSync(path)).toBe(false);
  });

  it('is replaced where a process left it that is gone', async () => {
    const crashed = `require('node:net').createServer().listen('${path}', () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', crashed]);
    expect(existsSync(path)).toBe(true);
    const { client } = await listen();
    expect((await runShell(`curl -s --unix-socket ${path} http://x/health/live`)).stdout).toBe(
      '{"status":"ok"}',
    );
    await client.quiet();
  });

  it('is refused where another process listens on it, and left to that one', async () => {
    const { client } = await listen();
    await expect(startServer({ NOTIFY_SOCKET: path })).rejects.toThrow(
      /Cannot listen on .*another process listens there; choose another NOTIFY_SOCKET/,
    );
    await runShell(
      `curl -s --unix-socket ${path} http://x/notify -H 'Content-Type: application/json' -d '${BODY}'`,
    );
    expect(await client.next()).toMatchObject({ event: 'e' });
  });

  it.each([
    ['something else is there', () => writeFileSync(path, 'text'), /no socket; move it away/],
    ['its directory is missing', () => rmSync(directory, { recursive: true }), /directory does not exist/],
    ['its path is too long', () => (path = join(directory, 'x'.repeat(100))), /too long for a Unix socket/],
  ])('is refused where %s', async (_what, spoil, reason) => {
    spoil();
    await expect(startServer({ NOTIFY_SOCKET: path })).rejects.toThrow(reason);
  });
});

describeWith(['curl'], 'curl --unix-socket', () => {
  it('posts without a key, and sees the whole health report', async () => {
    const { client } = await listen();
    const { stdout } = await runShell(
      `curl -sS --unix-socket ${path} http://localhost/notify -H 'Content-Type: application/json' -d '${BODY}'`,
    );
    const { id } = JSON.parse(stdout);
    expect(JSON.parse(stdout)).toEqual({ id, connections: 1, duplicate: false });
    expect(await client.next()).toMatchObject({ id });
    const health = await runShell(`curl -sS --unix-socket ${path} http://localhost/health`);
    expect(JSON.parse(health.stdout).sources).toMatchObject({
      http: { connected: true, taken: 0 },
      'unix-socket': { connected: true, taken: 1, refused: 0 },
    });
  });

  it('has neither a page nor WebSockets there', async () => {
    await listen();
    const page = await runShell(`curl -sS --unix-socket ${path} http://localhost/`);
    expect(JSON.parse(page.stdout)).toMatchObject({ code: 'not_found' });
  });

  it('may be the one place for backends', async () => {
    const { server } = await listen({ INTERNAL_ONLY: 'true' });
    const inFront = await fetch(`${server.url}/notify`, { method: 'POST', body: BODY });
    expect(inFront.status).toBe(404);
    const { stdout } = await runShell(
      `curl -sS --unix-socket ${path} http://localhost/notify -H 'Content-Type: application/json' -d '${BODY}'`,
    );
    expect(JSON.parse(stdout)).toMatchObject({ connections: 1 });
  });
});

describeWith(['php'], 'PHP with CURLOPT_UNIX_SOCKET_PATH', () => {
  it('posts without a key', async () => {
    const { client } = await listen();
    const php = await runPhp(
      `<?php
      $curl = curl_init('http://localhost/notify');
      curl_setopt_array($curl, [
          CURLOPT_UNIX_SOCKET_PATH => getenv('NOTIFY_SOCKET'),
          CURLOPT_RETURNTRANSFER => true,
          CURLOPT_HTTPHEADER => ['Content-Type: application/json'],
          CURLOPT_POSTFIELDS => json_encode(['room' => 'public.a', 'event' => 'from PHP']),
      ]);
      echo curl_exec($curl);`,
      { NOTIFY_SOCKET: path },
    );
    expect(php).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(php.stdout)).toMatchObject({ connections: 1, duplicate: false });
    expect(await client.next()).toMatchObject({ event: 'from PHP' });
  });
});
