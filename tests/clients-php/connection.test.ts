import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { describeWith } from '../support/requires.js';
import { KEY } from '../support/server.js';
import { problem, RECEIPT, startBackend, startSocketBackend } from './backend.js';
import { newDirectory, php, type Told } from './php.js';

const send = `$postroom->toRoom('a', 'e', 1)`;

describeWith(['php'], 'PHP client: the connection', () => {
  it('is kept: several calls, refused ones among them, over one', async () => {
    const backend = await startBackend(RECEIPT, problem(400, 'invalid_notification'), RECEIPT);
    await php(`${send}; told(fn () => ${send}); ${send}; return ${send};`, backend);
    expect(backend.requests).toHaveLength(4);
    expect(backend.connections).toBe(1);
  });

  it('one that the server closed meanwhile is replaced', async () => {
    const closing = { ...RECEIPT, thenCut: true };
    const backend = await startBackend(closing, RECEIPT);
    expect(await php(`${send}; return ${send};`, backend)).toMatchObject({ id: '1-0' });
    expect(backend.connections).toBe(2);
  });

  it('posts JSON to /notify with the key, and a large body without waiting for a 100', async () => {
    const backend = await startBackend(RECEIPT);
    await php(`return $postroom->toRoom('a', 'e', str_repeat('x', 2000000));`, {
      url: `${backend.url}/postroom/`,
    });
    const [taken] = backend.requests;
    expect(taken?.url).toBe('/postroom/notify');
    expect(taken?.headers).toMatchObject({
      authorization: `Bearer ${KEY}`,
      'content-type': 'application/json',
      'user-agent': expect.stringMatching(/^postroom-php\/\d/),
    });
    expect(taken?.headers.expect).toBeUndefined();
    expect(taken?.body.data).toHaveLength(2_000_000);
  });

  it('takes a key with the line end of the file that it was read from', async () => {
    const backend = await startBackend(RECEIPT);
    await php(`return ${send};`, { url: backend.url, key: `${KEY}\n` });
    expect(backend.requests[0]?.headers.authorization).toBe(`Bearer ${KEY}`);
  });

  it('is not shared with a forked child, nor with a clone', async () => {
    const backend = await startBackend(RECEIPT);
    const ended = await php(
      `${send};
       $child = pcntl_fork();
       if ($child === 0) {
           ${send};
           posix_kill(getmypid(), SIGKILL); // ends without the echo of the parent
       }
       pcntl_waitpid($child, $status);
       ${send};
       $clone = clone $postroom;
       $clone->toRoom('a', 'e', 1);
       ${send};
       return pcntl_wifsignaled($status);`,
      backend,
    );
    expect(ended).toBe(true);
    expect(backend.requests).toHaveLength(5);
    // One of the parent, one of the child, one of the clone.
    expect(backend.connections).toBe(3);
  });

  it('takes further curl options, but none that would replace its own', async () => {
    const backend = await startBackend(RECEIPT);
    await php(`return ${send};`, {
      url: backend.url,
      options: `['curl' => [CURLOPT_REFERER => 'http://from.test/', CURLOPT_HTTPHEADER => []]]`,
    });
    expect(backend.requests[0]?.headers).toMatchObject({
      referer: 'http://from.test/',
      authorization: `Bearer ${KEY}`,
    });
  });
});

describeWith(['php'], 'PHP client: Unix socket', () => {
  it('by URL, without a key', async () => {
    const backend = await startSocketBackend(join(newDirectory(), 'p.sock'), RECEIPT);
    expect(await php(`${send}; return ${send};`, { url: backend.url, key: '' })).toMatchObject({ id: '1-0' });
    expect(backend.connections).toBe(1);
    expect(backend.requests[0]).toMatchObject({ url: '/notify', headers: { host: 'localhost' } });
    expect(backend.requests[0]?.headers.authorization).toBeUndefined();
  });

  it('by option, with the path and the key of the URL beside it; no proxy comes between', async () => {
    const backend = await startSocketBackend(join(newDirectory(), 'p.sock'), RECEIPT);
    const path = backend.url.replace('unix:', '');
    await php(`putenv('http_proxy=http://127.0.0.1:1'); return ${send};`, {
      url: 'http://postroom.test/behind',
      options: `['socket' => '${path}']`,
    });
    expect(backend.requests[0]).toMatchObject({
      url: '/behind/notify',
      headers: { host: 'postroom.test', authorization: `Bearer ${KEY}` },
    });
  });

  it("one that is not there, or is nobody's: says so", async () => {
    const directory = newDirectory();
    writeFileSync(join(directory, 'file'), '');
    const [missing, dead] = await php<[Told, Told]>(
      `$none = new Postroom('unix://${directory}/none.sock');
       $dead = new Postroom('unix:${directory}/file');
       return [told(fn () => $none->toEveryone('e')), told(fn () => $dead->toEveryone('e'))];`,
    );
    expect(missing).toMatchObject({ class: 'PostroomConnectionException', code: 'connection_failed' });
    expect(missing.detail).toContain(`unix:${directory}/none.sock cannot be reached`);
    expect(missing.detail).toContain('there is no such file');
    expect(dead.code).toBe('connection_failed');
    expect(dead.detail).not.toContain('no such file');
  });
});
